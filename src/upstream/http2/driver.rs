//! What runs a connection to its end: the frames of all its streams go through it.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{Ping, PingPong, client::Connection};
use tokio::time::{sleep, sleep_until, timeout};

use super::{
    hearing::{Heard, LastHeard},
    usage::Usage,
};

/// Silence on a connection with open streams after which the app server is asked for a sign of life. gRPC servers take a
/// ping more often than every five minutes for an attack and close; a machine that is gone is told by TCP before that.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(310);

/// For the answer to a ping. Then the connection is closed, and its exchanges fail.
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What the app server allows, as last heard.
#[derive(Default)]
pub(super) struct Terms {
    streams_max: AtomicUsize,
    has_ended: AtomicBool,
}

impl Terms {
    /// Streams at once.
    pub(super) fn streams_max(&self) -> usize {
        self.streams_max.load(Relaxed)
    }

    /// Whether the connection is no more.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Relaxed)
    }
}

/// Runs `connection` until it ends or nothing is heard any more, and tells its terms whenever it moves.
pub(super) async fn drive(
    mut connection: Connection<Heard, Bytes>,
    terms: Arc<Terms>,
    last_heard: Arc<LastHeard>,
    usage: Weak<Usage>,
) -> Result<(), h2::Error> {
    let mut silence = pin!(silence(connection.ping_pong(), last_heard, usage.clone()));
    let ended = poll_fn(|context| {
        let ended = Pin::new(&mut connection).poll(context);
        let streams_max = connection.max_concurrent_send_streams();
        if terms.streams_max.swap(streams_max, Relaxed) < streams_max {
            tell(&usage);
        }
        if ended.is_ready() { ended } else { silence.as_mut().poll(context).map(Ok) }
    })
    .await;
    terms.has_ended.store(true, Relaxed);
    tell(&usage);
    ended
}

fn tell(usage: &Weak<Usage>) {
    if let Some(usage) = usage.upgrade() {
        usage.tell();
    }
}

/// Ends once an app server that owes answers gives no sign of life.
async fn silence(pings: Option<PingPong>, last_heard: Arc<LastHeard>, usage: Weak<Usage>) {
    let Some(mut pings) = pings else { return };
    loop {
        sleep_until(last_heard.at() + PING_INTERVAL).await;
        if last_heard.at().elapsed() < PING_INTERVAL {
            continue;
        }
        match usage.upgrade().map(|usage| usage.is_unused()) {
            // It was let go, and should have closed.
            None => return,
            Some(true) => sleep(PING_INTERVAL).await,
            Some(false) => match timeout(PING_TIMEOUT, pings.ping(Ping::opaque())).await {
                Ok(Ok(_pong)) => {}
                Ok(Err(_)) | Err(_) => return,
            },
        }
    }
}
