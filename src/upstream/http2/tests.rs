use std::future::poll_fn;

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use super::{
    driver::{PING_INTERVAL, PING_TIMEOUT},
    *,
};
use crate::upstream::trunk::Trunk;

const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// A connection to a server that greets and is never heard again.
async fn to_a_silent_server() -> Arc<Shared> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&SETTINGS).await.unwrap();
        while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
    });
    Arc::new(
        Shared::start(Socket::Tcp(TcpStream::connect(address).await.unwrap()), Life::example(), None).await.unwrap(),
    )
}

#[tokio::test]
async fn a_server_that_gives_no_sign_of_life_is_given_up() {
    let shared = to_a_silent_server().await;
    let mut call = Call::new(shared.lease(Instant::now()).unwrap());
    let request = Request::get("http://shop.example/").body(Empty::<Bytes>::new()).unwrap();
    call.begin(request);
    let answer = tokio::spawn(async move { poll_fn(|context| call.poll_head(context, &mut |_interim| {})).await });
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let error = answer.await.unwrap().unwrap_err().error;
    assert!((PING_INTERVAL..PING_INTERVAL + 2 * PING_TIMEOUT).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert!(connection_died(&error) && !was_refused(&error), "{error:?}");
    assert!(shared.lease(Instant::now()).is_none());
}

#[tokio::test]
async fn what_was_unused_for_too_long_is_not_used_before_it_is_swept() {
    let idle_timeout = Duration::from_secs(4);
    let trunk = Trunk::new(idle_timeout);
    let shared = Arc::into_inner(to_a_silent_server().await).unwrap();
    drop(trunk.open(async { Ok(shared) }).await.unwrap());
    assert!(trunk.take(Instant::now() + idle_timeout).is_none());
    let running = trunk.take(Instant::now()).unwrap();
    assert!(trunk.take(Instant::now() + idle_timeout).is_some(), "it is in use");
    drop(running);
}

#[tokio::test]
async fn a_connection_is_kept_while_it_is_in_use_wanted_and_young() {
    let (shared, idle_timeout) = (to_a_silent_server().await, Duration::from_secs(4));
    let late = || Instant::now() + idle_timeout;
    assert!(shared.is_kept(idle_timeout, Instant::now()) && !shared.is_kept(idle_timeout, late()));
    let leases: Vec<_> = std::iter::from_fn(|| shared.lease(Instant::now())).collect();
    assert_eq!(leases.len(), STREAMS_MAX, "nothing was said about a limit, so ours counts");
    assert!(shared.is_kept(idle_timeout, late()));
    leases[0].permit.leave();
    assert!(!shared.is_kept(idle_timeout, Instant::now()));
}

/// The server takes its time to greet.
#[tokio::test]
async fn who_comes_while_a_connection_is_opened_shares_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        sleep(Duration::from_secs(1)).await;
        stream.write_all(&SETTINGS).await.unwrap();
        // Nobody else has come in the meantime.
        timeout(Duration::from_millis(200), listener.accept()).await.is_err()
    });
    let trunk = Trunk::new(Duration::from_secs(4));
    let open = || async {
        Shared::start(Socket::Tcp(TcpStream::connect(address).await.unwrap()), Life::example(), None).await
    };
    let late = async {
        sleep(Duration::from_millis(100)).await;
        trunk.open(open()).await
    };
    let (first, second) = tokio::join!(trunk.open(open()), late);
    assert_eq!((first.unwrap().1, second.unwrap().1), (false, true));
    assert!(server.await.unwrap());
}
