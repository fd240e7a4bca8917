//! Values that must never be printed.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

/// A text that prints as `***`; only [`Secret::expose`] shows it.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct Secret(String);

impl Secret {
    /// The text itself; for whoever connects with it.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// `text` with every `user:password@` behind a `://` replaced, since URLs end up under the wrong key.
pub(super) fn without_userinfo(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        rest = match after.rfind('@') {
            Some(end) => {
                shown.push_str("***");
                &after[end..]
            }
            None => after,
        };
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_stars() {
        let secret = Secret::from("hunter2".to_owned());
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "*** Some(***)");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn userinfo_is_never_shown() {
        assert_eq!(without_userinfo("postgres://u:p@h/db"), "postgres://***@h/db");
        assert_eq!(without_userinfo("postgres://u:p@ss@h/db"), "postgres://***@h/db");
        assert_eq!(without_userinfo("postgres://u:p/x@h/db"), "postgres://***@h/db");
        assert_eq!(without_userinfo(r#"["http://a:1", "http://b:2"]"#), r#"["http://a:1", "http://b:2"]"#);
        assert_eq!(without_userinfo("u:p@h"), "u:p@h");
    }

    #[test]
    fn several_urls_in_one_value_are_all_hidden() {
        let shown = without_userinfo(r#"["http://u:first@a", "http://v:second@b"]"#);
        assert!(!shown.contains("first") && !shown.contains("second"), "{shown}");
    }
}
