//! The connection: two of them, one to read by and one to write by. Whoever finds it broken says so, and the keeper makes it
//! anew; meanwhile nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisError, RedisResult};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::{Down, RedisPlace};
use crate::FeatureError;

/// Connecting, and a write, may take so many times as long as a read: nobody who reads waits for them.
const PATIENCE: u32 = 20;

pub(crate) struct Link {
    client: Client,
    /// The address, without secrets.
    pub name: String,
    /// How long a read may take.
    pub timeout: Duration,
    state: RwLock<Result<Up, Down>>,
    connections: AtomicU64,
    /// What was last complained of, so that it is said once.
    complaint: Mutex<String>,
    /// There is something for the keeper to do.
    pub wake: Notify,
}

/// An open connection.
#[derive(Clone)]
pub(crate) struct Up {
    number: u64,
    pub reads: MultiplexedConnection,
    pub writes: MultiplexedConnection,
}

impl Link {
    pub(super) fn to(place: &RedisPlace) -> Result<Self, FeatureError> {
        let wrong = |what: String| FeatureError::Address { address: without_login(&place.address), what };
        let info = place.address.as_str().into_connection_info().map_err(|error| wrong(told(&error)))?;
        let mut settings = info.redis_settings().clone();
        if settings.username().is_some() || settings.password().is_some() {
            return Err(wrong("a login does not belong into the address: `user` and `password` name it".to_owned()));
        }
        if let Some(user) = &place.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &place.password {
            settings = settings.set_password(password);
        }
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            // There are two in the program, and none is chosen by itself; where one was chosen before, it stays.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let client = Client::open(info.set_redis_settings(settings)).map_err(|error| wrong(told(&error)))?;
        Ok(Self {
            client,
            name: place.address.clone(),
            timeout: place.timeout,
            state: RwLock::new(Err(Down("there was no connection yet".into()))),
            connections: AtomicU64::new(0),
            complaint: Mutex::default(),
            wake: Notify::new(),
        })
    }

    /// The connection, or why there is none.
    pub(crate) fn up(&self) -> Result<Up, Down> {
        self.state.read().clone()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state.read().is_ok()
    }

    /// Connects anew, in a bounded time.
    pub(crate) async fn connect(&self) -> Result<(), Down> {
        let connected = timeout(self.timeout * PATIENCE, self.connected()).await;
        let up = match connected {
            Ok(Ok(up)) => up,
            Ok(Err(error)) => return Err(self.down(&told(&error))),
            Err(_) => return Err(self.down("it could not be connected to in time")),
        };
        *self.state.write() = Ok(up);
        self.complaint.lock().clear();
        tracing::info!(store = self.name, "the online store answers");
        Ok(())
    }

    async fn connected(&self) -> RedisResult<Up> {
        // Every wait is bounded where it is begun.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut reads = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let writes = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        // A server that still loads its data answers this, too, by saying so.
        redis::cmd("PING").exec_async(&mut reads).await?;
        self.warn_of_eviction(&mut reads).await;
        Ok(Up { number: self.connections.fetch_add(1, Ordering::Relaxed), reads, writes })
    }

    /// Rows that a server throws away for want of memory would be features without a value.
    async fn warn_of_eviction(&self, connection: &mut MultiplexedConnection) {
        let info: RedisResult<String> = redis::cmd("INFO").arg("memory").query_async(connection).await;
        let info = info.unwrap_or_default();
        let said = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let policy = said("maxmemory_policy:");
        if !matches!(said("maxmemory:"), "" | "0") && !matches!(policy, "" | "noeviction") {
            tracing::warn!(
                store = self.name,
                policy,
                "the online store may evict rows, and features would be missing without a sign of it; set `maxmemory-policy noeviction`"
            );
        }
    }

    /// Waits for a read, no longer than until `deadline`.
    pub(super) async fn read<T>(
        &self,
        up: &Up,
        deadline: tokio::time::Instant,
        reply: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Down> {
        let reply = tokio::time::timeout_at(deadline, reply).await;
        self.answered(up, reply.map_err(|_| self.timeout))
    }

    /// Waits for a write, or for one step of a long work: both may take longer.
    pub(super) async fn write<T>(&self, up: &Up, reply: impl Future<Output = RedisResult<T>>) -> Result<T, Down> {
        let patience = self.timeout * PATIENCE;
        let reply = timeout(patience, reply).await;
        self.answered(up, reply.map_err(|_| patience))
    }

    /// An answer that did not come ends the connection; one that refuses does not.
    fn answered<T>(&self, up: &Up, reply: Result<RedisResult<T>, Duration>) -> Result<T, Down> {
        let (what, broken) = match reply {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => (told(&error), error.is_io_error() || error.is_unrecoverable_error()),
            Err(waited) => (format!("it did not answer within {} ms", waited.as_millis()), true),
        };
        if !broken {
            self.complain(&what);
            return Err(Down(what.into()));
        }
        let same = self.state.read().as_ref().is_ok_and(|now| now.number == up.number);
        if same { Err(self.down(&what)) } else { Err(Down(what.into())) }
    }

    fn down(&self, what: &str) -> Down {
        let down = Down(Arc::from(what));
        *self.state.write() = Err(down.clone());
        self.complain(what);
        self.wake.notify_one();
        down
    }

    fn complain(&self, what: &str) {
        let mut complaint = self.complaint.lock();
        if complaint.is_empty() {
            tracing::warn!(
                store = self.name,
                reason = what,
                "the online store does not work; features are served without it, and rows follow when it is back"
            );
        }
        *complaint = what.to_owned();
    }
}

/// An address without what somebody wrote into it that nobody may read.
fn without_login(address: &str) -> String {
    match (address.find("://"), address.rfind('@')) {
        (Some(scheme), Some(login)) if scheme < login => format!("{}…{}", &address[..scheme + 3], &address[login..]),
        _ => address.to_owned(),
    }
}

/// An error in words, without the types that it went through.
fn told(error: &RedisError) -> String {
    tenon_core::words::chain(error)
}
