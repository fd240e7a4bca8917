//! `[directory.queries]` and `[[directory.watch]]`: tables that are not the default ones.

use std::ops::Range;

use toml::Spanned;

use super::{
    file,
    problems::{Refusal, Report},
    written::{List, Section, Written},
};
use crate::{
    database::{
        migrations::{Plan, Tables, Watch},
        session::Dialect,
    },
    directory::{OwnQueries, Queries, feed::Follow},
};

const WATCH: &str = "directory.watch";

/// What is asked, and what has to be there for it.
pub(super) struct LookUps {
    pub(super) queries: Queries,
    pub(super) own: Option<OwnQueries>,
    pub(super) plan: Plan,
}

/// Under these platform domains; `follow` says whether somebody wants to be told of edits.
pub(super) fn resolve(
    queries: Written<Section<file::OwnQueries>>,
    watch: Written<List<Section<file::Watch>>>,
    context: (Dialect, Follow, &[String]),
    report: &mut Report<'_>,
) -> LookUps {
    let (dialect, follow, platforms) = context;
    let keeps_changes = matches!(follow, Follow::Poll(_));
    let (span, watch_span) = (queries.span(), watch.span());
    let watched = watches(watch, report);
    let Some(own) = queries.given().map(Spanned::into_inner) else {
        refuse_idle_watch(watch_span, report);
        return LookUps { queries: Queries::default(), own: None, plan: Plan { keeps_changes, ..Plan::default() } };
    };
    let own = OwnQueries { custom_domain: own.0.custom_domain, label: own.0.label };
    if watched.is_empty() && dialect == Dialect::Postgres && follow != Follow::Off {
        refuse_unwatched(span, report);
    }
    let queries = Queries::own(&own, dialect, platforms);
    LookUps {
        queries,
        own: Some(own),
        plan: Plan { tables: Tables::Own, watched, keeps_changes, finds_primary: false },
    }
}

fn watches(written: Written<List<Section<file::Watch>>>, report: &mut Report<'_>) -> Vec<Watch> {
    let items = written.given().map(|list| list.into_inner().0).unwrap_or_default();
    let mut watches: Vec<Watch> = Vec::new();
    for item in items {
        let span = item.span();
        let Some(watch) = watch(item, report) else { continue };
        if watches.iter().any(|other| other.table.eq_ignore_ascii_case(&watch.table)) {
            let cause = format!("names the table {} again, which has one set of triggers", watch.table);
            let accepted = "one [[directory.watch]] for each table";
            let refusal = Refusal::new(cause, accepted, "put the columns of both together");
            report.refuse_key(WATCH, span, refusal);
        }
        watches.push(watch);
    }
    watches
}

fn watch(item: Spanned<Section<file::Watch>>, report: &mut Report<'_>) -> Option<Watch> {
    let span = item.span();
    let Section(file::Watch { table, columns, domain, label, tenant }) = item.into_inner();
    let Some(table) = table.given() else {
        let refusal = Refusal::new("names no table", "table = \"store_domains\"", "add the table");
        report.refuse_key(WATCH, span, refusal);
        return None;
    };
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"_.\"$".contains(&byte);
    if table.get_ref().is_empty() || !table.get_ref().bytes().all(named) {
        let accepted = "the name of a table, perhaps with its schema: \"shop.domains\"";
        report.refuse("directory.watch.table", table.span(), Refusal::new("is no table", accepted, "write its name"));
        return None;
    }
    let watch = Watch { table: table.into_inner(), columns, domain, label, tenant };
    if watch.columns.is_empty() && watch.keys().next().is_none() {
        let accepted = "columns = [\"domain\", …], and which of them is domain, label or tenant";
        report.refuse_key(WATCH, span, Refusal::new("names no column", accepted, "add what the queries read"));
        return None;
    }
    Some(watch)
}

fn refuse_unwatched(span: Option<Range<usize>>, report: &mut Report<'_>) {
    let cause = "nobody would tell of edits in what these queries read";
    let accepted = "a [[directory.watch]] for each table, or follow = \"off\"";
    report.refuse_key("directory.queries", span.unwrap_or_default(), Refusal::new(cause, accepted, "add the tables"));
}

fn refuse_idle_watch(span: Option<Range<usize>>, report: &mut Report<'_>) {
    if let Some(span) = span {
        let cause = "is without effect: the default queries bring their own";
        let refusal = Refusal::new(cause, "beside [directory.queries] only", "remove it, or add the queries");
        report.refuse_key(WATCH, span, refusal);
    }
}
