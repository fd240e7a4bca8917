//! The rows: names that are spelled oddly, that no request can carry, or that contend with another row.

use usher::{
    catalog::{Audit, Catalog, Duplicate, Error, Fault, RowFault},
    config::Problem,
};

use super::{Report, count, tables::problem};

pub(super) async fn look(catalog: &Catalog, report: &mut Report) -> Result<(), Error> {
    let (stores, domains) = (catalog.audit_stores().await?, catalog.audit_domains().await?);
    report.good.push(format!("{} and {} were read", count(stores.rows, "store"), count(domains.rows, "domain")));
    tell(report, "stores.subdomain", stores);
    tell(report, "store_domains.domain", domains);
    let contend = |subject| move |duplicate: &Duplicate| contending(subject, duplicate);
    report.errors.extend(catalog.duplicate_stores().await?.iter().map(contend("stores.subdomain")));
    report.errors.extend(catalog.duplicate_domains().await?.iter().map(contend("store_domains.domain")));
    Ok(())
}

fn tell(report: &mut Report, column: &str, audit: Audit) {
    report.warnings.extend(audit.faults.into_iter().map(|fault| odd(column, fault)));
    if audit.more > 0 {
        let cause = format!("{} of this column could be told of as well", count(audit.more, "further row"));
        report.warnings.push(problem(column, cause, "canonical names", "repair what writes them".into()));
    }
}

fn odd(column: &str, RowFault { id, written, fault }: RowFault) -> Problem {
    let (cause, remedy) = match fault {
        Fault::NotCanonical(name) => {
            ("is found, though it is not written as requests have it".to_owned(), format!("write {name}"))
        }
        Fault::NeverMatches { reason, meant: Some(name) } => {
            (format!("{reason}: no request is for it"), format!("write {name}"))
        }
        Fault::NeverMatches { reason, meant: None } => {
            (format!("{reason}: no request is for it"), "correct or remove the row".to_owned())
        }
    };
    let accepted = "lower case, A-labels, no trailing dot, nothing but the name, and no name of the platform's own";
    Problem { value: Some(written), ..problem(&format!("{column}, id {id}"), cause, accepted, remedy) }
}

fn contending(column: &str, Duplicate { name, rows }: &Duplicate) -> Problem {
    let cause = format!("{rows} rows come to this name, and only one of them is asked");
    let remedy = "keep the row whose store has the name and remove the others".into();
    Problem { value: Some(name.clone()), ..problem(column, cause, "one row for each name", remedy) }
}
