//! SQL of the user's own for the look-ups, and what can be known of it before a request comes.

use crate::database::session::{Error, Session};

/// SQL in place of that for the default tables. Its rows name the store in `store_id`, and may have `is_active` (of the store) and
/// `is_verified`, which stand for true where they are left out, `upstream`, the name of the one that serves the store, and
/// `primary_domain`, for which the store's other hosts stand back where `routing` says so. A column `subdomain`, which a row of the
/// app's often has, may stay and means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnQueries {
    /// Takes a custom domain as `$1`; unset: nobody has one.
    pub custom_domain: Option<String>,
    /// Takes a label as `$1` and its platform domain as `$2`, which is NULL in path mode without one; unset: nobody has one.
    pub label: Option<String>,
}

/// What is wrong with a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryFault {
    /// Its key: `custom_domain` or `label`.
    pub query: &'static str,
    /// What is wrong.
    pub cause: String,
}

/// Types that read as a truth value.
const FLAGS: [&str; 8] = ["bool", "boolean", "int2", "int4", "int8", "text", "varchar", ""];

/// Types that are no id and no name.
const NO_IDS: [&str; 4] = ["json", "jsonb", "bytea", "bool"];

impl OwnQueries {
    /// Has the database look at the statements; it runs none of them.
    pub async fn faults(&self, session: &Session) -> Result<Vec<QueryFault>, Error> {
        let mut faults = Vec::new();
        for (query, sql, given) in [("custom_domain", &self.custom_domain, 1), ("label", &self.label, 2)] {
            let Some(sql) = sql else { continue };
            let causes = match session.describe(sql, given).await {
                Ok(described) if described.takes > given => {
                    vec![format!("it takes ${}, and is given no more than ${given}", described.takes)]
                }
                Ok(described) => causes(&described.columns),
                Err(error) if error.is_wrong_statement() => vec![crate::telemetry::causes::one_line(&error)],
                Err(error) => return Err(error),
            };
            faults.extend(causes.into_iter().map(|cause| QueryFault { query, cause }));
        }
        Ok(faults)
    }
}

/// What is wrong with these columns and their types.
fn causes(columns: &[(String, String)]) -> Vec<String> {
    let mut causes = Vec::new();
    if !columns.iter().any(|(name, _)| name == "store_id") {
        causes.push("its rows have no column store_id".to_owned());
    }
    for (name, kind) in columns {
        let fits = match name.as_str() {
            "store_id" | "subdomain" | "upstream" | "primary_domain" => !NO_IDS.contains(&kind.as_str()),
            "is_active" | "is_verified" => FLAGS.contains(&kind.as_str()),
            _ => {
                causes.push(format!(
                    "its column {name} is none of store_id, subdomain, is_active, is_verified, upstream and primary_domain"
                ));
                continue;
            }
        };
        if !fits {
            causes.push(format!("its column {name} is of type {kind}"));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(columns: &[(&str, &str)]) -> Vec<String> {
        causes(&columns.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_missing_mistyped_or_unknown_is_named() {
        assert_eq!(told(&[("store_id", "uuid"), ("is_active", "bool"), ("is_verified", "int4")]), Vec::<String>::new());
        let names =
            told(&[("store_id", "uuid"), ("subdomain", "text"), ("upstream", "text"), ("primary_domain", "varchar")]);
        assert_eq!(names, Vec::<String>::new());
        assert_eq!(told(&[("store_id", "uuid"), ("upstream", "jsonb")]), ["its column upstream is of type jsonb"]);
        assert_eq!(told(&[("id", "int8")]).len(), 2);
        assert_eq!(
            told(&[("store_id", "int8"), ("is_verified", "timestamptz")]),
            ["its column is_verified is of type timestamptz"]
        );
    }
}
