//! One connection from accept to close: hyper with every limit set, a count of what is under way, and an end that a
//! stop, an idle peer or the drain's deadline can bring about.
//!
//! tonic's and axum's own servers leave most of these limits off (no stream cap, no pings, 400 KiB of buffer per stuck
//! stream), which is why the accept loop is ours. Not a router: the service is handed in.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Bytes, Incoming};
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt as _};
use tracing::debug;

use super::activity::{Activity, Counted};
use super::home::Home;
use super::socket::{Patience, Socket};
use super::transport::Stream;

/// The body of every request that reaches a service.
pub type RequestBody = Counted<Incoming>;

/// Who is at the other end; in the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The address the connection came from: the client, or the proxy before it; none on a Unix socket.
    pub address: Option<SocketAddr>,
}

impl Peer {
    /// The address without its port: whose share of a rate a request takes.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.map(|address| address.ip())
    }
}

/// What a connection may take. The defaults are those of a server in the open.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// How long the head of a request may take, so that dripping sockets do not pile up.
    pub head_timeout: Duration,
    /// How long a peer may take no byte of what is waiting for it: its window is shut, which pings do not notice.
    pub stall_timeout: Duration,
    /// How long the rest of a request is thrown away after an early answer.
    pub linger: Duration,
    /// After this long without a request (at most twice as long) a connection is closed.
    pub idle_timeout: Duration,
    /// Time between HTTP/2 pings.
    pub ping_interval: Duration,
    /// How long an HTTP/2 ping may stay unanswered.
    pub ping_timeout: Duration,
    /// Bytes of an HTTP/1 connection's buffer, and so of a request's head; hyper's own 400 KiB times 10,000 stuck
    /// readers would be 4 GB.
    pub http1_buffer: usize,
    /// Bytes that may wait to be sent on one HTTP/2 stream.
    pub http2_send_buffer: usize,
    /// Bytes of an HTTP/2 request's header fields.
    pub http2_header_list: u32,
    /// TLS handshakes at once, on one listener.
    pub handshakes: usize,
    /// Streams on one HTTP/2 connection.
    pub http2_streams: u32,
    /// Bytes a peer may send ahead on one HTTP/2 stream; four times as much on the connection.
    pub http2_window: u32,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            head_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(30),
            linger: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(60),
            ping_interval: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(10),
            http1_buffer: 64 * 1024,
            http2_send_buffer: 64 * 1024,
            http2_header_list: 16 * 1024,
            handshakes: 8,
            http2_streams: 128,
            http2_window: 256 * 1024,
        }
    }
}

/// Spawns the streams of one HTTP/2 connection where the server counts its tasks and the connection is served.
#[derive(Debug, Clone)]
struct Spawner(TaskTracker, Home);

impl<F> Executor<F> for Spawner
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.1.spawn_stream(&self.0, async move { drop(stream.await) });
    }
}

/// What every connection of a listener shares.
#[derive(Clone)]
pub struct Connections {
    tasks: TaskTracker,
    limits: ConnectionLimits,
    /// TLS handshakes at once.
    handshakes: Arc<Semaphore>,
    /// Where connections are encrypted.
    tls: Option<TlsAcceptor>,
    /// Finish what is under way and close.
    stop: CancellationToken,
    /// Close, whatever is under way.
    abort: CancellationToken,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Connections {
    /// Prepares hyper. `stop` asks connections to finish, `abort` ends them.
    pub fn new(
        limits: ConnectionLimits,
        tls: Option<TlsAcceptor>,
        tasks: TaskTracker,
        (stop, abort): (CancellationToken, CancellationToken),
    ) -> Self {
        let handshakes = Arc::new(Semaphore::new(limits.handshakes.max(1)));
        Self { tasks, limits, handshakes, tls, stop, abort }
    }

    /// hyper with every limit set, for one connection.
    fn builder(&self, home: Home) -> Builder<Spawner> {
        let mut builder = Builder::new(Spawner(self.tasks.clone(), home));
        builder
            .http1()
            .timer(TokioTimer::new())
            // hyper's timer runs while a kept connection idles too; the time for a head is kept by the socket.
            .header_read_timeout(self.limits.idle_timeout.max(self.limits.head_timeout))
            .max_buf_size(self.limits.http1_buffer.max(8192));
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.http2_streams)
            .keep_alive_interval(self.limits.ping_interval)
            .keep_alive_timeout(self.limits.ping_timeout)
            .max_send_buf_size(self.limits.http2_send_buffer)
            .max_header_list_size(self.limits.http2_header_list)
            .initial_stream_window_size(self.limits.http2_window)
            .initial_connection_window_size(self.limits.http2_window.saturating_mul(4));
        builder
    }

    /// Serves one connection until it ends. A TLS handshake takes from the time for the first request's head, so that
    /// a peer that dawdles there is no better off.
    pub async fn serve<S, B>(&self, mut stream: Stream, (peer, home): (Peer, Home), service: S)
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
    {
        let mut head = Box::pin(sleep(self.limits.head_timeout));
        stream.lives_in(home.clone());
        let Some(tls) = &self.tls else { return self.drive(stream, (peer, home), head, service).await };
        let shake = async {
            // A storm of handshakes takes turns, or all of them would run out of time together.
            let _turn = self.handshakes.acquire().await;
            tls.accept(stream).await
        };
        let shaken = tokio::select! {
            biased;
            () = self.stop.cancelled() => return,
            () = head.as_mut() => return debug!("the TLS handshake did not end in time"),
            shaken = shake => shaken,
        };
        match shaken {
            // The encrypted stream is large, and every connection's task would be as large without the box.
            Ok(stream) => self.drive(Box::new(stream), (peer, home), head, service).await,
            Err(error) => debug!(%error, "no TLS handshake"),
        }
    }

    async fn drive<T, S, B>(&self, stream: T, (peer, home): (Peer, Home), head: Pin<Box<Sleep>>, service: S)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
    {
        let activity = Arc::new(Activity::default());
        let patience =
            Patience { head: self.limits.head_timeout, stall: self.limits.stall_timeout, linger: self.limits.linger };
        let socket = Socket::new(stream, Arc::clone(&activity), patience, head);
        let counted = Arc::clone(&activity);
        let builder = self.builder(home.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let under_way = counted.begin();
            let mut request = request.map(|body| Counted::request(body, under_way.clone()));
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(home.clone());
            let answer = service.clone().oneshot(request);
            async move { answer.await.map(|answer| answer.map(|body| Counted::response(body, under_way))) }
        });
        let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
        let mut idle = pin!(sleep(self.limits.idle_timeout));
        let (mut stopping, mut seen) = (false, 0);
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        debug!(error = &*error, "connection failed");
                    }
                    return;
                }
                () = self.abort.cancelled() => return,
                () = self.stop.cancelled(), if !stopping => stopping = true,
                () = idle.as_mut(), if !stopping => {
                    stopping = activity.is_idle() && activity.started() == seen;
                    seen = activity.started();
                    idle.set(sleep(self.limits.idle_timeout));
                }
            }
            if stopping {
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}
