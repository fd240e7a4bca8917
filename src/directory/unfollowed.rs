//! Names are known to be all there are only while somebody tells of new ones.

use super::{
    tests::{SECOND, Script, tenant},
    *,
};
use crate::routing::TenantKey;

/// A script whose rows can be listed.
struct Listed(Arc<Script>);

impl TenantSource for Listed {
    fn load<'a>(&'a self, key: &'a TenantKey) -> BoxFuture<'a, Answer> {
        self.0.load(key)
    }

    fn names<'a>(&'a self, each: &'a EachName<'a>) -> BoxFuture<'a, Result<bool, SourceError>> {
        each(KeyRef::CustomDomain("shop.example"));
        Box::pin(async { Ok(true) })
    }
}

/// Whoever verifies domains marks everything as changed with SQLite, whether the file is watched or not.
#[tokio::test(start_paused = true)]
async fn a_name_that_nobody_told_of_is_found_after_a_change_of_everything() {
    let script = Script::new(&[("shop.example", "1")]);
    let source = Arc::new(Listed(Arc::clone(&script)));
    let directory = Directory::new(Settings::default(), source, tokio::runtime::Handle::current());
    directory.apply(&[Change::Everything]);
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(directory.held().names, None);
    script.set("new.example", Some("2"));
    let found = directory.reader().lookup(KeyRef::CustomDomain("new.example"), now()).await.unwrap();
    assert_eq!(found, Some(tenant("2")));

    directory.follow();
    tokio::time::sleep(10 * SECOND).await;
    assert!(directory.held().names.is_some());
    directory.apply(&[Change::Everything]);
    tokio::time::sleep(30 * SECOND).await;
    assert!(directory.held().names.is_some(), "they are read again");
    directory.lose();
    directory.apply(&[Change::Everything]);
    tokio::time::sleep(30 * SECOND).await;
    assert_eq!(directory.held().names, None);
}
