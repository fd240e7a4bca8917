//! A connection of its own that hears notices (`LISTEN`). One of the pool would not do: the pool lends them to others, and a
//! pooler between usher and the server forgets what was subscribed to.
//!
//! Silence means that nothing has happened or that the connection is dead, so whoever listens asks now and then
//! ([`Listener::ask`]), under a deadline.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool_postgres::tokio_postgres::{
    self, AsyncMessage, Client, Config, Connection, NoTls, Row, Socket,
    tls::{MakeTlsConnect, TlsConnect},
    types::Type,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc::{Receiver, Sender, channel, error::TrySendError},
    task::JoinHandle,
    time::timeout,
};

use super::{Error, Pool, Settings, TlsMode, tls};

/// For an answer of a server that is alive, and for a notice to come round; also how long sent bytes may stay unacknowledged.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Notices that wait here to be read; whoever comes too late for more is told that some were missed. The connection never waits for
/// its listener, which may be waiting for an answer on it.
const NOTICES_MAX: usize = 1024;

/// One notice.
#[derive(Debug, PartialEq, Eq)]
pub struct Notice {
    /// Where it was sent.
    pub channel: String,
    /// What it says.
    pub payload: String,
}

/// What was heard.
#[derive(Debug, PartialEq, Eq)]
pub enum Notices {
    /// All notices since the last time, in their order.
    All(Vec<Notice>),
    /// There were more than could wait.
    Missed,
}

/// A connection that listens, until dropped.
pub struct Listener {
    client: Client,
    notices: Receiver<Notice>,
    missed: Arc<AtomicBool>,
    connection: JoinHandle<Result<(), tokio_postgres::Error>>,
}

impl Listener {
    /// Connects and subscribes to `channels`: the notices of all transactions that commit after this call will be heard.
    ///
    /// Of several servers it takes the one that can be written to: the others have no notices.
    pub async fn connect(settings: &Settings, channels: &[&str]) -> Result<Self, Error> {
        let connect = async {
            let listener = Self::open(settings).await?;
            listener.run(&format!("LISTEN {}", channels.join("; LISTEN "))).await?;
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

    /// Waits for notices: those that are there, at least one. Cancel safe; after an error the listener is of no
    /// further use.
    pub async fn notices(&mut self) -> Result<Notices, Error> {
        let Some(first) = self.notices.recv().await else { return Err(self.end().await) };
        let mut notices = vec![first];
        while let Ok(next) = self.notices.try_recv() {
            notices.push(next);
        }
        // Those that were missed came when there was no room, so that one was there to be read.
        Ok(if self.missed.swap(false, Ordering::AcqRel) { Notices::Missed } else { Notices::All(notices) })
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
        let ((sender, notices), missed) = (channel(NOTICES_MAX), Arc::new(AtomicBool::new(false)));
        let connection = tokio::spawn(carry(connection, sender, Arc::clone(&missed)));
        Ok(Self { client, notices, missed, connection })
    }

    async fn run(&self, sql: &str) -> Result<(), Error> {
        let answer = timeout(SILENCE_MAX, self.client.batch_execute(sql)).await;
        answer.map_err(|_| Error::QueryTimeout)?.map_err(Error::Query)
    }

    async fn waits_for(&mut self, payload: &str) -> Result<bool, Error> {
        let heard = async {
            loop {
                match self.notices().await? {
                    Notices::All(notices) if !notices.iter().any(|notice| notice.payload == payload) => {}
                    // With so many others it is a connection that hears.
                    Notices::All(_) | Notices::Missed => return Ok(true),
                }
            }
        };
        timeout(SILENCE_MAX, heard).await.unwrap_or(Ok(false))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn server(settings: &Settings) -> Config {
    let mut server = settings.primary().with_ssl_mode();
    server.tcp_user_timeout(SILENCE_MAX);
    server
}

/// Moves bytes for the client and notices to whoever listens, until either side has gone.
async fn carry<S, T>(
    mut connection: Connection<S, T>,
    notices: Sender<Notice>,
    missed: Arc<AtomicBool>,
) -> Result<(), tokio_postgres::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        let AsyncMessage::Notification(heard) = message? else { continue };
        let notice = Notice { channel: heard.channel().to_owned(), payload: heard.payload().to_owned() };
        match notices.try_send(notice) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => missed.store(true, Ordering::Release),
            Err(TrySendError::Closed(_)) => break,
        }
    }
    Ok(())
}
