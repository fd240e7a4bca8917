//! Rows that the router finds only by its canonical comparison, or never.

use super::{Catalog, Error, text};
use crate::{
    database::session::Value,
    routing::{Host, Hostname, Label},
};

/// Rows read at once: few enough to be answered in time and held in memory, however many domains there are.
const PAGE: usize = 5000;

/// Faults that are kept of each table; a person reads these and repairs the cause of all.
const FAULTS_MAX: usize = 20;

/// What is wrong with the rows of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Rows that were read.
    pub rows: usize,
    /// The first faults, in the order of the names.
    pub faults: Vec<RowFault>,
    /// Further faults that are not shown.
    pub more: usize,
}

/// One row and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFault {
    /// The primary key.
    pub id: String,
    /// The name as the row has it.
    pub written: String,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is found, though it is not written as this name.
    NotCanonical(String),
    /// No request can ever carry it.
    NeverMatches {
        /// Why.
        reason: String,
        /// What was probably meant.
        meant: Option<String>,
    },
}

/// Several rows that come to the same name; one of them decides whose requests these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// The name.
    pub name: String,
    /// How many rows.
    pub rows: i64,
}

impl Catalog {
    /// Reads all of `store_domains`, page by page.
    pub async fn audit_domains(&self) -> Result<Audit, Error> {
        self.audit("store_domains", "domain", |written| self.audit_domain(written)).await
    }

    /// Reads all of `stores`, page by page.
    pub async fn audit_stores(&self) -> Result<Audit, Error> {
        self.audit("stores", "subdomain", |written| self.audit_label(written)).await
    }

    /// Names of `store_domains` that several rows come to.
    pub async fn duplicate_domains(&self) -> Result<Vec<Duplicate>, Error> {
        self.duplicates("lower(rtrim(domain, '.'))", "store_domains").await
    }

    /// Names of `stores` that several rows come to.
    pub async fn duplicate_stores(&self) -> Result<Vec<Duplicate>, Error> {
        self.duplicates("lower(subdomain)", "stores").await
    }

    /// Pages by the name itself, which is unique and has an index.
    async fn audit(&self, table: &str, column: &str, judge: impl Fn(&str) -> Option<Fault>) -> Result<Audit, Error> {
        let mut audit = Audit::default();
        let (mut after, mut comparison) = (String::new(), ">=");
        loop {
            let sql = format!(
                "SELECT CAST(id AS text), CAST({column} AS text) FROM {table}
                 WHERE {column} {comparison} $1 ORDER BY {column} LIMIT {PAGE}"
            );
            let rows = self.session.query(&sql, &[Value::Text(after)]).await?;
            for row in &rows {
                audit.read(text(row.first()), text(row.get(1)), &judge);
            }
            match rows.last() {
                Some(last) if rows.len() == PAGE => (after, comparison) = (text(last.get(1)), ">"),
                _ => return Ok(audit),
            }
        }
    }

    fn audit_domain(&self, written: &str) -> Option<Fault> {
        let canonical = written.trim_end_matches('.').to_ascii_lowercase();
        let reason = match Host::parse(&canonical) {
            Err(error) => error.to_string(),
            Ok(host) => match self.domain_fault(&host) {
                None if canonical == written => return None,
                None => return Some(Fault::NotCanonical(canonical)),
                Some(reason) => return Some(Fault::NeverMatches { reason: format!("is {reason}"), meant: None }),
            },
        };
        let meant = Hostname::parse_human(written.trim()).ok().map(|name| name.as_str().to_owned());
        Some(Fault::NeverMatches { reason, meant })
    }

    fn audit_label(&self, written: &str) -> Option<Fault> {
        let canonical = written.to_ascii_lowercase();
        if let Err(error) = Label::parse(&canonical) {
            return Some(Fault::NeverMatches { reason: error.to_string(), meant: None });
        }
        match self.label_fault(&canonical) {
            None if canonical == written => None,
            None => Some(Fault::NotCanonical(canonical)),
            Some(reason) => Some(Fault::NeverMatches { reason: format!("is {reason}"), meant: None }),
        }
    }

    async fn duplicates(&self, name: &str, table: &str) -> Result<Vec<Duplicate>, Error> {
        let sql = format!(
            "SELECT {name}, count(*) FROM {table} WHERE {name} IS NOT NULL
             GROUP BY {name} HAVING count(*) > 1 ORDER BY {name} LIMIT {FAULTS_MAX}"
        );
        let rows = self.session.query(&sql, &[]).await?;
        let duplicate = |row: &Vec<Value>| match row.as_slice() {
            [Value::Text(name), Value::Int(rows)] => Some(Duplicate { name: name.clone(), rows: *rows }),
            _ => None,
        };
        Ok(rows.iter().filter_map(duplicate).collect())
    }
}

impl Audit {
    fn read(&mut self, id: String, written: String, judge: impl Fn(&str) -> Option<Fault>) {
        self.rows += 1;
        match judge(&written) {
            None => {}
            Some(_) if self.faults.len() == FAULTS_MAX => self.more += 1,
            Some(fault) => self.faults.push(RowFault { id, written, fault }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::fixture;

    async fn faults_of(names: &[&str]) -> Vec<(String, Fault)> {
        let (_folder, catalog) = fixture::catalog("").await.unwrap();
        catalog.batch("INSERT INTO stores (subdomain, name) VALUES ('store1', 'Shop Alpha')").await;
        for name in names {
            catalog.batch(&format!("INSERT INTO store_domains (store_id, domain) VALUES (1, '{name}')")).await;
        }
        let audit = catalog.audit_domains().await.unwrap();
        assert_eq!(audit.rows, names.len());
        audit.faults.into_iter().map(|fault| (fault.written, fault.fault)).collect()
    }

    #[tokio::test]
    async fn canonical_rows_have_no_faults() {
        assert_eq!(faults_of(&["brand.com", "xn--bcher-kva.example", "a_b.brand.com"]).await, []);
    }

    #[tokio::test]
    async fn a_row_that_is_found_all_the_same_is_not_canonical() {
        let faults = faults_of(&["Shop.Alpha.com."]).await;
        assert_eq!(faults, [("Shop.Alpha.com.".into(), Fault::NotCanonical("shop.alpha.com".into()))]);
    }

    #[tokio::test]
    async fn rows_that_no_request_can_carry_never_match() {
        let names =
            ["", " brand.com", "brand.com:80", "https://brand.com", "*.brand.com", "192.0.2.1", "x.platform.com"];
        for (written, fault) in faults_of(&names).await {
            assert!(matches!(fault, Fault::NeverMatches { .. }), "{written:?}: {fault:?}");
        }
        assert_eq!(faults_of(&names).await.len(), names.len());
    }

    #[tokio::test]
    async fn a_row_in_unicode_is_told_its_wire_form() {
        let faults = faults_of(&["bücher.example"]).await;
        assert!(
            matches!(&faults[0].1, Fault::NeverMatches { meant: Some(meant), .. } if meant == "xn--bcher-kva.example")
        );
    }

    #[tokio::test]
    async fn every_row_is_read_and_the_faults_are_capped() {
        let (_folder, catalog) = fixture::catalog("").await.unwrap();
        catalog
            .batch(
                "INSERT INTO stores (subdomain, name) VALUES ('api', 'A'), ('B', 'B'), ('c', 'C');
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10500)
                 INSERT INTO store_domains (store_id, domain) SELECT 1, 'S' || i || '.brand.com' FROM n",
            )
            .await;
        let audit = catalog.audit_domains().await.unwrap();
        assert_eq!((audit.rows, audit.faults.len(), audit.more), (10_500, FAULTS_MAX, 10_500 - FAULTS_MAX));
        let stores = catalog.audit_stores().await.unwrap();
        let written: Vec<_> = stores.faults.iter().map(|fault| fault.written.as_str()).collect();
        assert_eq!(written, ["B", "api"]);
    }

    #[tokio::test]
    async fn rows_that_come_to_the_same_name_are_listed() {
        let (_folder, catalog) = fixture::catalog("").await.unwrap();
        catalog
            .batch(
                "INSERT INTO stores (subdomain, name) VALUES ('a', 'A'), ('A', 'B');
                 INSERT INTO store_domains (store_id, domain) VALUES (1, 'x.com'), (2, 'X.com.'), (1, 'y.com')",
            )
            .await;
        assert_eq!(catalog.duplicate_domains().await.unwrap(), [Duplicate { name: "x.com".into(), rows: 2 }]);
        assert_eq!(catalog.duplicate_stores().await.unwrap(), [Duplicate { name: "a".into(), rows: 2 }]);
    }
}
