//! The listener: accepts connections, bounds how many there are, and ends them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use chat::Code;
use runtime::{Stop, Tasks};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::admin::{self, Operate};
use crate::connected::Connected;
use crate::crowd::Crowd;
use crate::metrics::{self, ConnectionCounters};
use crate::pings::NoServices;
use crate::problem::Problem;
use crate::socket::{Socket, Stalled, alone};
use crate::{
    Ask, Auth, Config, Objects, Patience, Pings, Twilio, connection, endpoints, install_metrics,
};

/// Connections beyond the bound that are told so at the same time; more are closed without a word.
const TURNED_AWAY_MAX: usize = 64;
/// Connections that may wait to be accepted; the system has its own bound below it.
const BACKLOG: u32 = 1024;
/// The pause after a failed accept, most likely for want of file descriptors.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// An address that is taken and not listened on yet: whoever connects there is refused, and does not
/// wait for a node that is not there.
#[derive(Debug)]
pub struct Reserved {
    socket: TcpSocket,
    address: SocketAddr,
    config: Config,
}

/// A listener that is bound and not served yet, so that its address is known before the node is made.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    config: Config,
    pings: Arc<dyn Pings>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("listening for HTTP on {listen}")]
pub struct BindError {
    /// The address asked for.
    pub listen: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// A listener that is served. Dropping it changes nothing.
#[derive(Debug)]
pub struct Serving {
    address: SocketAddr,
    gate: Arc<Gate>,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every request was answered and every connection closed.
    Done,
    /// Time ran out; so many connections were still open, and end with the tasks.
    Cut {
        /// How many.
        connections: usize,
    },
}

struct Gate {
    /// Told when nothing new is accepted any more.
    on_drain: Box<dyn Fn() + Send + Sync>,
    draining: Stop,
    slots: Arc<Semaphore>,
    slots_max: usize,
    crowd: Arc<Crowd>,
    turned_away: Arc<Semaphore>,
    patience: Patience,
    counters: ConnectionCounters,
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("open", &self.open()).finish_non_exhaustive()
    }
}

impl Reserved {
    /// Takes the address. To be called within the runtime that serves it.
    ///
    /// # Errors
    /// [`BindError`] when somebody listens there.
    pub fn take(config: Config) -> Result<Self, BindError> {
        let listen = config.listen;
        let taken = || {
            let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // Connections of an earlier process may still be ending.
            socket.set_reuseaddr(true)?;
            socket.bind(listen)?;
            Ok((socket.local_addr()?, socket))
        };
        match taken() {
            Ok((address, socket)) => Ok(Self { socket, address, config }),
            Err(source) => Err(BindError { listen, source }),
        }
    }

    /// Where clients will connect; with the port that was taken, if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Listens. Connections wait until [`Server::serve`].
    ///
    /// # Errors
    /// [`BindError`] when somebody began to listen there meanwhile.
    pub fn listen(self) -> Result<Server, BindError> {
        let Self { socket, address, config } = self;
        let listening = socket.listen(BACKLOG);
        let listener = listening.map_err(|source| BindError { listen: address, source })?;
        let pings: Arc<dyn Pings> = Arc::new(NoServices);
        Ok(Server { listener, address, config, pings })
    }
}

impl Server {
    /// Takes the address and listens. Connections wait until [`Server::serve`].
    ///
    /// # Errors
    /// [`BindError`].
    #[expect(clippy::unused_async, reason = "it registers with the runtime it is called on")]
    pub async fn bind(config: Config) -> Result<Self, BindError> {
        Reserved::take(config)?.listen()
    }

    /// Where clients connect; with the port that was taken, if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// With somebody who is told that application services are there.
    #[must_use]
    pub fn with_pings(mut self, pings: Arc<dyn Pings>) -> Self {
        self.pings = pings;
        self
    }

    /// Answers clients whom `auth` lets in, and `twilio`, from now on, in tasks of `tasks`, asking `ask`, and of
    /// the archive `objects`.
    pub fn serve(
        self,
        ask: Arc<dyn Ask>,
        objects: Arc<dyn Objects>,
        auth: Auth,
        twilio: Twilio,
        tasks: &Tasks,
    ) -> Serving {
        install_metrics();
        auth.follow(tasks);
        twilio.follow(tasks);
        let (ears, pings) = (Arc::clone(&ask), Arc::clone(&self.pings));
        let router = endpoints::router(ears, objects, pings, auth, twilio, self.config);
        let stop = tasks.stop().clone();
        tasks.spawn("http metrics", async move {
            while !stop.is_stopped() {
                tokio::select! {
                    biased;
                    () = stop.stopped() => {}
                    () = runtime::sleep(metrics::FOLD_EVERY) => metrics::fold(),
                }
            }
        });
        self.run("http", router, Box::new(move || ask.drain()), tasks)
    }

    /// Answers operators from now on, in tasks of `tasks`, asking `operate`. Of the configuration only
    /// the address and the patience count.
    pub fn serve_operators(mut self, operate: Arc<dyn Operate>, tasks: &Tasks) -> Serving {
        install_metrics();
        self.config.connections = admin::CONNECTIONS_MAX;
        let router = admin::router(operate, &self.config);
        self.run("admin", router, Box::new(|| {}), tasks)
    }

    fn run(
        self,
        name: &'static str,
        router: Router,
        on_drain: Box<dyn Fn() + Send + Sync>,
        tasks: &Tasks,
    ) -> Serving {
        let gate = Arc::new(Gate {
            on_drain,
            draining: tasks.stop().child(),
            slots: Arc::new(Semaphore::new(self.config.connections)),
            slots_max: self.config.connections,
            crowd: Crowd::new(self.config.connections_per_address),
            turned_away: Arc::new(Semaphore::new(TURNED_AWAY_MAX)),
            patience: self.config.patience,
            counters: ConnectionCounters::new(name),
        });
        let accept = accept(self.listener, Arc::clone(&gate), router, tasks.clone());
        tasks.spawn("http accept", accept);
        Serving { address: self.address, gate }
    }
}

impl Serving {
    /// Where clients connect.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nothing more, answers readers who wait, finishes the requests under way and closes the
    /// connections; at most for `within`. Cancel-safe: it goes on by itself, and nobody waits for it.
    pub async fn drain(&self, within: Duration) -> Drained {
        let gate = &*self.gate;
        gate.draining.stop();
        (gate.on_drain)();
        let all = u32::try_from(gate.slots_max).unwrap_or(u32::MAX);
        let closed = runtime::timeout(within, gate.slots.acquire_many(all)).await;
        if closed.is_ok() { Drained::Done } else { Drained::Cut { connections: gate.open() } }
    }
}

impl Gate {
    fn open(&self) -> usize {
        self.slots_max.saturating_sub(self.slots.available_permits())
    }
}

async fn accept(listener: TcpListener, gate: Arc<Gate>, router: Router, tasks: Tasks) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = gate.draining.stopped() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => admit(stream, peer.ip(), &gate, &router, &tasks),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                runtime::sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
    }
}

fn admit(stream: TcpStream, peer: IpAddr, gate: &Arc<Gate>, router: &Router, tasks: &Tasks) {
    // Answers are small and somebody waits for each. A socket that refuses this is about to fail anyway.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection ended before it began");
        return;
    }
    let Ok(slot) = Arc::clone(&gate.slots).try_acquire_owned() else {
        gate.counters.turned_away.increment(1);
        return refuse(stream, "too many connections", gate, tasks);
    };
    let Some(place) = gate.crowd.enter(peer) else {
        gate.counters.crowded.increment(1);
        return refuse(stream, "too many connections from this address", gate, tasks);
    };
    let draining = gate.draining.clone();
    let (router, counters) = (router.clone(), gate.counters.clone());
    let patience = gate.patience;
    counters.open.increment(1.0);
    let connected = Connected::new(slot, place, draining, tasks.clone());
    tasks.spawn("http connection", async move {
        let open = counters.open.clone();
        connection::serve(stream, router, counters, patience, connected).await;
        open.decrement(1.0);
    });
}

/// Tells a connection why it is not served, unless too many are being told already.
fn refuse(stream: TcpStream, why: &'static str, gate: &Gate, tasks: &Tasks) {
    if let Ok(slot) = Arc::clone(&gate.turned_away).try_acquire_owned() {
        let socket = Socket::new(stream, gate.patience.stall, Stalled::default());
        tasks.spawn("http turned away", turn_away(socket, why, slot, tasks.stop().clone()));
    }
}

async fn turn_away(mut socket: Socket, why: &'static str, _slot: OwnedSemaphorePermit, stop: Stop) {
    let answer = alone(&Problem::new(Code::Overloaded, why));
    let told = async {
        socket.write_all(&answer).await?;
        socket.shutdown().await
    };
    tokio::select! {
        biased;
        () = stop.stopped() => {}
        told = told => if let Err(error) = told {
            tracing::debug!(%error, "a connection that was turned away did not listen");
        },
    }
}
