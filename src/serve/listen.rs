//! The accept loop: from a bound port to connections that `connection` drives, and the drain at the end.
//!
//! It ends only when it is told to. A failing `accept` (no file descriptors left, a peer that was gone again) is waited
//! out. Above the cap a connection is answered 503 with `Retry-After` at once, since a client that is left in the
//! backlog cannot tell a full server from a dead one; above the cap for such answers too it is closed. Draining asks
//! every connection to finish what is under way; streams that have no end of their own must watch the same `stop`; what
//! is left at the deadline is cut.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Bytes};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::{info, warn};

use super::connection::{ConnectionLimits, Connections, Peer, RequestBody};
use super::home::Lanes;
use super::transport::{Acceptor, Place, Stream};

/// Connections that may wait to be accepted: a whole fleet that reconnects at once.
pub const BACKLOG: u32 = 4096;
/// Connections above the cap that may be told so at the same time.
const REFUSALS_MAX: usize = 256;
/// How long one of them may take to hear it.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// What it hears. Plain HTTP/1.1: an HTTP/2 client fails on it and tries again later, which is what it is asked to do.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
    retry-after: 5\r\nconnection: close\r\ncontent-length: 151\r\n\r\n\
    {\"type\":\"urn:rampart:problem:unavailable\",\"title\":\"Service unavailable\",\"status\":503,\
    \"code\":\"unavailable\",\"detail\":\"the server has no connection left\"}";

/// How a listener serves.
#[derive(Debug, Clone)]
pub struct ListenOptions {
    /// What is listening, for logs: `data` or `admin`.
    pub name: &'static str,
    /// Connections at once; at least 1.
    pub connections_max: u32,
    /// How long the drain lets requests and streams finish.
    pub drain_time: Duration,
    /// What each connection may take.
    pub limits: ConnectionLimits,
    /// Where connections are counted.
    pub metrics: ListenMetrics,
    /// Connections that are accepted in a second; the rest waits in the kernel.
    pub accepts_per_second: u32,
    /// The threads to which connections with subscriptions move.
    pub lanes: Lanes,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            name: "http",
            connections_max: 10_000,
            drain_time: Duration::from_secs(25),
            limits: ConnectionLimits::default(),
            metrics: ListenMetrics::default(),
            accepts_per_second: 1_000_000,
            lanes: Lanes::default(),
        }
    }
}

/// Accepting at a rate: a second's worth at once, then one after the other.
#[derive(Debug)]
struct Pace {
    each: Duration,
    /// When the connections that were taken are paid for.
    paid: Instant,
}

impl Pace {
    fn new(per_second: u32) -> Self {
        Self { each: Duration::from_secs(1) / per_second.max(1), paid: Instant::now() }
    }

    /// One was taken; waits while that was too many.
    async fn step(&mut self, stop: &CancellationToken) {
        let now = Instant::now();
        self.paid = self.paid.max(now) + self.each;
        let ahead = self.paid.duration_since(now);
        if ahead > Duration::from_secs(1) {
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(ahead - Duration::from_secs(1)) => {}
            }
        }
    }
}

/// Counts of one listener, to be registered with the metrics. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct ListenMetrics {
    /// Connections that were taken.
    pub accepted: Counter,
    /// Connections above the cap.
    pub refused: Counter,
    /// Failures of `accept`.
    pub failed: Counter,
    /// Connections that are open.
    pub open: Gauge,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections that were open when it began.
    pub open: usize,
    /// Connections that were cut at the deadline.
    pub aborted: usize,
}

/// One connection's place under the cap and in the counts, given back whichever way the connection ends.
#[derive(Debug)]
struct Slot {
    _permit: OwnedSemaphorePermit,
    open: Gauge,
}

impl Slot {
    fn take(metrics: &ListenMetrics, permit: OwnedSemaphorePermit) -> Self {
        metrics.accepted.inc();
        metrics.open.inc();
        Self { _permit: permit, open: metrics.open.clone() }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// A bound port or Unix socket.
pub struct Listener {
    acceptor: Acceptor,
    tls: Option<TlsAcceptor>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("acceptor", &self.acceptor).field("tls", &self.tls.is_some()).finish()
    }
}

impl Listener {
    /// Binds and listens; port 0 lets the system choose.
    ///
    /// # Errors
    /// What the system says: the port is taken or may not be used, the address is not ours.
    pub fn bind(address: SocketAddr, backlog: u32) -> io::Result<Self> {
        Ok(Self { acceptor: Acceptor::tcp(address, backlog)?, tls: None })
    }

    /// Binds a Unix socket; one that a process left behind is replaced, one that a process listens on is not.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind_unix(path: &Path) -> io::Result<Self> {
        Ok(Self { acceptor: Acceptor::unix(path)?, tls: None })
    }

    /// Encrypts every connection.
    #[must_use]
    pub fn with_tls(self, tls: Option<TlsAcceptor>) -> Self {
        Self { tls, ..self }
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// What the system says.
    pub fn place(&self) -> io::Result<Place> {
        self.acceptor.place()
    }

    /// The address it is bound to.
    ///
    /// # Errors
    /// What the system says; or it is a Unix socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self.place()? {
            Place::Tcp(address) => Ok(address),
            Place::Unix(_) => Err(io::Error::other("a Unix socket has no address")),
        }
    }

    /// Serves until `stop`, then drains. The service's own streams must end on `stop` too, or they are cut.
    pub async fn serve<S, B>(
        self,
        service: S,
        options: ListenOptions,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> DrainReport
    where
        S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send,
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
    {
        let abort = CancellationToken::new();
        let Self { acceptor, tls } = self;
        let encrypted = tls.is_some();
        let ends = (stop.clone(), abort.clone());
        let connections = Arc::new(Connections::new(options.limits, tls, tasks.clone(), ends));
        let connections_max = options.connections_max.max(1);
        let free = Arc::new(Semaphore::new(connections_max as usize));
        let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
        let mut pace = Pace::new(options.accepts_per_second);
        while let Some((stream, peer)) = accept(&acceptor, &options, &stop).await {
            let Ok(slot) = Arc::clone(&free).try_acquire_owned() else {
                options.metrics.refused.inc();
                if encrypted {
                    // It would take the words for a broken handshake; closing says the same for less.
                    continue;
                }
                if let Ok(turn) = Arc::clone(&refusals).try_acquire_owned() {
                    tasks.spawn(async move {
                        refuse(stream).await;
                        drop(turn);
                    });
                }
                continue;
            };
            let slot = Slot::take(&options.metrics, slot);
            let (connections, service, home) = (Arc::clone(&connections), service.clone(), options.lanes.home());
            home.clone().spawn_connection(&tasks, async move {
                connections.serve(stream, (peer, home), service).await;
                drop(slot);
            });
            pace.step(&stop).await;
        }
        drop(acceptor);
        drain(&options, &free, connections_max, &abort).await
    }
}

/// The next connection, set up; none once `stop` is called. Failures are waited out.
async fn accept(acceptor: &Acceptor, options: &ListenOptions, stop: &CancellationToken) -> Option<(Stream, Peer)> {
    let mut failures = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            accepted = acceptor.accept() => accepted,
        };
        let error = match accepted {
            Ok(accepted) => return Some(accepted),
            Err(error) => error,
        };
        options.metrics.failed.inc();
        let Some(pause) = pause_after(&error, failures) else { continue };
        if failures == 0 {
            warn!(%error, listener = options.name, "cannot accept connections, trying again");
        }
        failures += 1;
        tokio::select! {
            () = stop.cancelled() => return None,
            () = sleep(pause) => {}
        }
    }
}

/// How long to wait after a failed `accept`: not at all where only that one connection failed; otherwise (no file
/// descriptors, no memory) from 10 ms on twice as long each time, up to a second.
fn pause_after(error: &io::Error, failures: u32) -> Option<Duration> {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput, NotConnected,
    };
    let connection = [BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, InvalidInput, NotConnected];
    if connection.contains(&error.kind()) {
        return None;
    }
    Some(Duration::from_millis(10 << failures.min(7)).min(Duration::from_secs(1)))
}

/// Tells a connection above the cap that there is no room, and reads what it sends until it has heard.
async fn refuse(mut stream: Stream) {
    let told = async {
        stream.write_all(REFUSAL).await?;
        stream.shutdown().await?;
        let mut scratch = [0; 4096];
        while stream.read(&mut scratch).await? > 0 {}
        io::Result::Ok(())
    };
    // It went away or took too long; there was nothing else to say to it.
    let _ = timeout(REFUSAL_TIME, told).await;
}

/// Waits until every slot is free again, and cuts what still holds one at the deadline.
async fn drain(
    options: &ListenOptions,
    free: &Semaphore,
    connections_max: u32,
    abort: &CancellationToken,
) -> DrainReport {
    let held = || connections_max as usize - free.available_permits();
    let open = held();
    let finished = timeout(options.drain_time, free.acquire_many(connections_max)).await;
    let aborted = if finished.is_ok() { 0 } else { held() };
    drop(finished);
    if aborted > 0 {
        warn!(aborted, listener = options.name, "drain deadline passed, cutting what is left");
    }
    abort.cancel();
    drop(free.acquire_many(connections_max).await);
    info!(open, aborted, listener = options.name, "drained");
    DrainReport { open, aborted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::routing::{get, post};
    use std::future::pending;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::net::TcpStream;
    use tokio::sync::mpsc;
    use tokio::task::JoinHandle;

    use hyper::body::Frame;

    const GUARD: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(60);

    /// A listener that serves, for one test.
    struct Served {
        address: SocketAddr,
        stop: CancellationToken,
        ended: JoinHandle<DrainReport>,
    }

    fn serve(routes: Router, options: ListenOptions) -> Served {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), BACKLOG).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let ended = TaskTracker::new().spawn(listener.serve(routes, options, TaskTracker::new(), stop.clone()));
        Served { address, stop, ended }
    }

    fn options(limits: ConnectionLimits) -> ListenOptions {
        ListenOptions { limits, ..ListenOptions::default() }
    }

    fn hello() -> Router {
        Router::new().route("/", get(|| async { "hello" })).route("/ignore", post(|| async { "not read" }))
    }

    async fn guarded<T>(work: impl Future<Output = T>) -> T {
        timeout(GUARD, work).await.expect("the guard of 30 s")
    }

    impl Served {
        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }

        async fn send(&self, bytes: &[u8]) -> TcpStream {
            let mut stream = self.connect().await;
            stream.write_all(bytes).await.unwrap();
            stream
        }

        async fn works(&self) -> bool {
            let mut stream = self.connect().await;
            ask(&mut stream).await.is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
        }
    }

    /// Everything until the server closes.
    async fn rest(stream: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        // A reset is a close too.
        let _ = guarded(stream.read_to_end(&mut bytes)).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// One request on a connection that is kept; none where the server closed it.
    async fn ask(stream: &mut TcpStream) -> Option<String> {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        while !answer.ends_with("hello") {
            let mut bytes = [0; 1024];
            let read = guarded(stream.read(&mut bytes)).await.ok()?;
            answer.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
            if read == 0 {
                return (!answer.is_empty()).then_some(answer);
            }
        }
        Some(answer)
    }

    /// A body of endless zeros that says when it is dropped, and which ends on `stop` where it has one.
    struct Endless {
        stop: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
        fast: bool,
        _dropped: mpsc::Sender<()>,
    }

    impl Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let this = self.get_mut();
            if this.stop.as_mut().is_some_and(|stop| stop.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(None);
            }
            if this.fast {
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 16_384])))));
            }
            Poll::Pending
        }
    }

    /// Routes with one endless answer at `/`, and what hears of its end.
    fn endless(stop: Option<&CancellationToken>, fast: bool) -> (Router, mpsc::Receiver<()>) {
        let (dropped, gone) = mpsc::channel(1);
        let stop = stop.cloned();
        let answer = move || {
            let stop = stop.clone().map(|stop| Box::pin(stop.cancelled_owned()) as Pin<Box<_>>);
            let body = Endless { stop, fast, _dropped: dropped.clone() };
            async { Response::new(axum::body::Body::new(body)) }
        };
        (Router::new().route("/", get(answer)), gone)
    }

    #[tokio::test]
    async fn a_client_that_drips_its_head_is_closed() {
        let served = serve(hello(), options(ConnectionLimits { head_timeout: SHORT, ..ConnectionLimits::default() }));
        for start in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n", b"GET / HTTP/1.1\r\nhost: x\r\nx-slow:"] {
            let mut stream = served.send(start).await;
            assert!(!rest(&mut stream).await.starts_with("HTTP/1.1 200"), "{start:?}");
        }
        // The second head of a kept connection too.
        let mut stream = served.connect().await;
        assert!(ask(&mut stream).await.is_some());
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert!(!rest(&mut stream).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn a_kept_connection_outlives_the_time_for_a_head() {
        let served = serve(hello(), options(ConnectionLimits { head_timeout: SHORT, ..ConnectionLimits::default() }));
        let mut kept = served.connect().await;
        assert!(ask(&mut kept).await.is_some());
        let mut silent = served.connect().await;
        assert_eq!(rest(&mut silent).await, "");
        assert!(ask(&mut kept).await.is_some());
    }

    #[tokio::test]
    async fn an_idle_connection_is_closed_in_either_protocol() {
        let served = serve(hello(), options(ConnectionLimits { idle_timeout: SHORT, ..ConnectionLimits::default() }));
        let mut kept = served.connect().await;
        assert!(ask(&mut kept).await.is_some());
        assert_eq!(rest(&mut kept).await, "");
        let stream = served.connect().await;
        let (mut sender, connection) = hyper::client::conn::http2::handshake(
            hyper_util::rt::TokioExecutor::new(),
            hyper_util::rt::TokioIo::new(stream),
        )
        .await
        .unwrap();
        let connection = TaskTracker::new().spawn(connection);
        let request = Request::get("http://x/").body(http_body_util::Empty::<Bytes>::new()).unwrap();
        assert_eq!(guarded(sender.send_request(request)).await.unwrap().status(), 200);
        guarded(connection).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_stream_is_not_idle() {
        let (routes, mut gone) = endless(None, false);
        let routes = routes.route("/hello", get(|| async { "hello" }));
        let served = serve(routes, options(ConnectionLimits { idle_timeout: SHORT, ..ConnectionLimits::default() }));
        let _streaming = served.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        // Two others in turn idle long enough to be closed.
        for _ in 0..2 {
            let mut other = served.send(b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n").await;
            assert!(rest(&mut other).await.ends_with("hello"));
        }
        assert_eq!(gone.try_recv(), Err(mpsc::error::TryRecvError::Empty));
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_cut() {
        let (routes, mut gone) = endless(None, true);
        let served = serve(routes, options(ConnectionLimits { stall_timeout: SHORT, ..ConnectionLimits::default() }));
        let mut deaf = served.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        guarded(deaf.read_u8()).await.unwrap();
        // The route holds one sender, so only the body's end can be awaited: by the connection's.
        served.stop.cancel();
        let report = guarded(served.ended).await.unwrap();
        assert_eq!(report, DrainReport { open: 1, aborted: 0 });
        assert_eq!(guarded(gone.recv()).await, None);
    }

    #[tokio::test]
    async fn an_answer_that_comes_before_the_request_ends_is_heard() {
        let served = serve(hello(), ListenOptions::default());
        let mut stream = served.send(b"POST /ignore HTTP/1.1\r\nhost: x\r\ncontent-length: 8388608\r\n\r\n").await;
        guarded(stream.write_all(&vec![0; 8_388_608])).await.unwrap();
        assert!(rest(&mut stream).await.ends_with("not read"));
        assert!(served.works().await);
    }

    #[tokio::test]
    async fn a_connection_above_the_cap_hears_503_and_room_is_found_again() {
        let metrics = ListenMetrics::default();
        let options = ListenOptions { connections_max: 1, metrics: metrics.clone(), ..ListenOptions::default() };
        let served = serve(hello(), options);
        let mut first = served.connect().await;
        assert!(ask(&mut first).await.is_some());
        let answer = rest(&mut served.connect().await).await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("\r\nretry-after: 5\r\n"), "{answer}");
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        assert!(answer.contains(&format!("content-length: {}\r\n", body.len())));
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["code"], "unavailable");
        assert_eq!((metrics.accepted.get(), metrics.refused.get(), metrics.open.get()), (1, 1, 1));
        drop(first);
        guarded(async { while !served.works().await {} }).await;
    }

    #[tokio::test]
    async fn a_drain_ends_with_streams_attached() {
        let stop = CancellationToken::new();
        let (routes, _gone) = endless(Some(&stop), false);
        let served = serve(routes, ListenOptions::default());
        let mut streaming = served.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let mut head = [0; 12];
        guarded(streaming.read_exact(&mut head)).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        stop.cancel();
        served.stop.cancel();
        assert_eq!(guarded(served.ended).await.unwrap().aborted, 0);
        assert!(rest(&mut streaming).await.ends_with("0\r\n\r\n"), "the stream was ended properly");
        assert!(TcpStream::connect(served.address).await.is_err());
    }

    #[tokio::test]
    async fn what_does_not_end_is_cut_at_the_deadline_and_counted() {
        let (routes, _gone) = endless(None, false);
        let routes = routes.route("/hang", get(|| async { pending::<&str>().await }));
        let served = serve(routes, ListenOptions { drain_time: SHORT, ..ListenOptions::default() });
        let mut streaming = served.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        guarded(streaming.read_u8()).await.unwrap();
        let mut hanging = served.send(b"GET /hang HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let mut idle = served.connect().await;
        // Connections are accepted in order: once this one is, the others are.
        idle.write_all(b"GET /none HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        guarded(idle.read_u8()).await.unwrap();
        served.stop.cancel();
        assert_eq!(guarded(served.ended).await.unwrap(), DrainReport { open: 3, aborted: 2 });
        assert_eq!(rest(&mut hanging).await, "");
    }

    #[tokio::test]
    async fn garbage_harms_nobody_else() {
        let served = serve(hello(), ListenOptions::default());
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let mut many_headers = b"GET / HTTP/1.1\r\n".to_vec();
        many_headers.extend(b"x: y\r\n".repeat(500));
        many_headers.extend(b"\r\n");
        let mut long = b"GET /".to_vec();
        long.extend([b'a'; 100_000]);
        for garbage in [
            &[0, 255, 13, 10, 0][..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GET / HTTP/9.9\r\n\r\n",
            b"POST / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            &[&preface[..], &[0xff; 64]].concat(),
            &many_headers,
            &long,
        ] {
            let mut stream = served.connect().await;
            let _ = stream.write_all(garbage).await;
            let _ = stream.shutdown().await;
            assert!(!rest(&mut stream).await.starts_with("HTTP/1.1 200"), "{garbage:?}");
        }
        assert!(served.works().await);
    }

    #[test]
    fn a_failing_accept_is_waited_out_and_a_lost_connection_is_not() {
        let emfile = io::Error::from_raw_os_error(24);
        let pauses = [0, 1, 6, 7, 8, 1000].map(|failures| pause_after(&emfile, failures).map(|time| time.as_millis()));
        assert_eq!(pauses, [Some(10), Some(20), Some(640), Some(1000), Some(1000), Some(1000)]);
        assert_eq!(pause_after(&io::ErrorKind::ConnectionAborted.into(), 3), None);
    }
}
