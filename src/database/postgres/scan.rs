//! All rows of a query, a page at a time: neither side ever holds them together.

use std::time::Duration;

use deadpool_postgres::Transaction;
use tokio::time::timeout;
use tokio_postgres::Row;

use super::{Client, Error, Pool, Position, pool::close};

/// Rows of a page: some milliseconds of the server's time.
const PAGE: i32 = 10_000;

impl Pool {
    /// Hands the rows of `sql` to `each` as of one moment, until it wants no more. Every page comes under the deadline of a query.
    /// The server has replayed the log up to `position`; for that it has as long.
    pub async fn scan(
        &self,
        position: Option<&Position>,
        sql: &str,
        each: impl FnMut(&Row) -> Result<bool, tokio_postgres::Error>,
    ) -> Result<(), Error> {
        let mut client = self.one_server(position, self.query_timeout).await?.into_client()?;
        let scanned = scan(&mut client, sql, self.query_timeout, each).await;
        if matches!(scanned, Err(Error::QueryTimeout)) {
            close(client);
        }
        scanned
    }
}

async fn scan(
    client: &mut Client,
    sql: &str,
    limit: Duration,
    each: impl FnMut(&Row) -> Result<bool, tokio_postgres::Error>,
) -> Result<(), Error> {
    let transaction = within(limit, client.transaction()).await?;
    pages(&transaction, sql, limit, each).await?;
    within(limit, transaction.rollback()).await
}

async fn pages(
    transaction: &Transaction<'_>,
    sql: &str,
    limit: Duration,
    mut each: impl FnMut(&Row) -> Result<bool, tokio_postgres::Error>,
) -> Result<(), Error> {
    let statement = within(limit, transaction.prepare(sql)).await?;
    let portal = within(limit, transaction.bind(&statement, &[])).await?;
    loop {
        let rows = within(limit, transaction.query_portal(&portal, PAGE)).await?;
        for row in &rows {
            if !each(row).map_err(Error::Query)? {
                return Ok(());
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
    }
}

async fn within<T>(
    limit: Duration,
    asking: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Error> {
    timeout(limit, asking).await.map_err(|_| Error::QueryTimeout)?.map_err(Error::Query)
}
