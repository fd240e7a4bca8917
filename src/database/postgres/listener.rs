//! A connection of its own that hears notices (`LISTEN`). One of the pool would not do: the pool lends them to others, and a
//! pooler between usher and the server forgets what was subscribed to.
//!
//! Silence means that nothing has happened or that the connection is dead, so whoever listens asks now and then
//! ([`Listener::ask`]), under a deadline.

use std::{future::poll_fn, time::Duration};

use deadpool_postgres::tokio_postgres::{
    self, AsyncMessage, Client, Config, Connection, NoTls, Row, Socket,
    config::TargetSessionAttrs,
    tls::{MakeTlsConnect, TlsConnect},
    types::Type,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc::{Receiver, Sender, channel},
    task::JoinHandle,
    time::timeout,
};

use super::{Error, Pool, Settings, TlsMode, tls};

/// For an answer of a server that is alive, and for a notice to come round; also how long sent bytes may stay unacknowledged.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Notices that wait here to be read; further ones wait in the server's queue, which has gigabytes.
const NOTICES_MAX: usize = 1024;

/// A connection that listens, until dropped.
pub struct Listener {
    client: Client,
    notices: Receiver<String>,
    connection: JoinHandle<Result<(), tokio_postgres::Error>>,
}

impl Listener {
    /// Connects and subscribes to `channel`: the notices of all transactions that commit after this call will be heard.
    ///
    /// Of several servers it takes the one that can be written to: the others have no notices.
    pub async fn connect(settings: &Settings, channel: &str) -> Result<Self, Error> {
        let connect = async {
            let listener = Self::open(settings).await?;
            listener.run(&format!("LISTEN {channel}")).await?;
            Ok(listener)
        };
        timeout(settings.connect_timeout, connect).await.unwrap_or(Err(Error::ConnectTimeout))
    }

    /// Whether a notice sent through `pool` is heard here. It is not where a pooler is in between, nor where the two are
    /// different databases. A standby cannot send one, and is believed. Other notices that come meanwhile are lost.
    pub async fn hears(&mut self, pool: &Pool) -> Result<bool, Error> {
        let echo = format!("usher_echo_{:016x}", fastrand::u64(..));
        self.run(&format!("LISTEN {echo}")).await?;
        let send = "SELECT pg_notify($1, $1) WHERE NOT pg_is_in_recovery()";
        let sent = pool.query(send, &[(&echo, Type::TEXT)]).await?;
        let heard = sent.is_empty() || self.waits_for(&echo).await?;
        self.run(&format!("UNLISTEN {echo}")).await?;
        Ok(heard)
    }

    /// Asks for one row, which also shows that the server is alive.
    pub async fn ask(&self, sql: &str) -> Result<Row, Error> {
        let answer = timeout(SILENCE_MAX, self.client.query_one(sql, &[])).await;
        answer.map_err(|_| Error::QueryTimeout)?.map_err(Error::Query)
    }

    /// The payload of the next notice. Cancel safe; after an error the listener is of no further use.
    pub async fn notice(&mut self) -> Result<String, Error> {
        match self.notices.recv().await {
            Some(payload) => Ok(payload),
            None => Err(self.end().await),
        }
    }

    async fn end(&mut self) -> Error {
        match (&mut self.connection).await {
            Ok(Err(cause)) => Error::Lost(cause),
            Ok(Ok(())) | Err(_) => Error::Closed,
        }
    }

    async fn open(settings: &Settings) -> Result<Self, Error> {
        let server = server(settings);
        match settings.tls {
            TlsMode::Disable => Self::open_with(&server, NoTls).await,
            mode => Self::open_with(&server, tls::connector(mode, settings.tls_root.as_deref())?).await,
        }
    }

    async fn open_with<T>(server: &Config, tls: T) -> Result<Self, Error>
    where
        T: MakeTlsConnect<Socket, Stream: Send + 'static, TlsConnect: TlsConnect<Socket, Future: Send>>,
    {
        let (client, connection) = server.connect(tls).await.map_err(Error::Connect)?;
        let (sender, notices) = channel(NOTICES_MAX);
        Ok(Self { client, notices, connection: tokio::spawn(carry(connection, sender)) })
    }

    async fn run(&self, sql: &str) -> Result<(), Error> {
        let answer = timeout(SILENCE_MAX, self.client.batch_execute(sql)).await;
        answer.map_err(|_| Error::QueryTimeout)?.map_err(Error::Query)
    }

    async fn waits_for(&mut self, payload: &str) -> Result<bool, Error> {
        let heard = async {
            while self.notice().await? != payload {}
            Ok(true)
        };
        timeout(SILENCE_MAX, heard).await.unwrap_or(Ok(false))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// A role that is read-only by default would pass for a standby.
fn server(settings: &Settings) -> Config {
    let mut server = settings.with_ssl_mode();
    server.tcp_user_timeout(SILENCE_MAX);
    if settings.has_several_servers() {
        let options = server.get_options().unwrap_or_default();
        server.options(format!("{options} -c default_transaction_read_only=off").trim_start());
        server.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    server
}

/// Moves bytes for the client and notices to whoever listens, until either side has gone.
async fn carry<S, T>(mut connection: Connection<S, T>, notices: Sender<String>) -> Result<(), tokio_postgres::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        if let AsyncMessage::Notification(notice) = message?
            && notices.send(notice.payload().to_owned()).await.is_err()
        {
            break;
        }
    }
    Ok(())
}
