//! Where connections come from: a TCP port or a Unix socket, and streams that are either.
//!
//! A peer on TCP may vanish without a word, so its stream is set up to find out; one on a Unix socket cannot. What a
//! connection may take is decided in `connection`, TLS is laid over these streams there.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

use super::connection::Peer;
use super::home::Home;

/// Where a listener is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An address.
    Tcp(SocketAddr),
    /// A path.
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What accepts connections.
#[derive(Debug)]
pub enum Acceptor {
    /// On a port.
    Tcp(TcpListener),
    /// On a Unix socket.
    Unix(UnixSocket),
}

/// A Unix socket whose file goes when it does.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Somebody else may have removed it; then there is nothing to do.
        drop(std::fs::remove_file(&self.path));
    }
}

impl Acceptor {
    /// Binds a port.
    ///
    /// # Errors
    /// What the system says.
    pub fn tcp(address: SocketAddr, backlog: u32) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart must not wait for the old connections' TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self::Tcp(socket.listen(backlog)?))
    }

    /// Binds a Unix socket. The file of a process that ended without removing it is replaced.
    ///
    /// # Errors
    /// What the system says: the path exists and is no socket, somebody listens there, the folder may not be written.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_behind(path) => {
                std::fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            bound => bound?,
        };
        Ok(Self::Unix(UnixSocket { listener, path: path.to_owned() }))
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// What the system says.
    pub fn place(&self) -> io::Result<Place> {
        match self {
            Self::Tcp(listener) => Ok(Place::Tcp(listener.local_addr()?)),
            Self::Unix(socket) => Ok(Place::Unix(socket.path.clone())),
        }
    }

    /// The next connection, set up.
    ///
    /// # Errors
    /// What the system says; the next one may work.
    pub async fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                set_up(&stream)?;
                Ok((Stream::new(Io::Tcp(stream)), Peer { address: Some(address) }))
            }
            Self::Unix(socket) => {
                let (stream, _unnamed) = socket.listener.accept().await?;
                Ok((Stream::new(Io::Unix(stream)), Peer { address: None }))
            }
        }
    }
}

/// True where a socket is at the path and nobody listens on it any more.
fn is_left_behind(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|about| about.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && std::os::unix::net::UnixStream::connect(path).err().is_some_and(refused)
}

/// Sends small answers at once, and lets the system find out about peers that vanished: probes on a silent
/// connection, a limit on bytes that nobody acknowledges.
fn set_up(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10)).with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(Duration::from_secs(20)))?;
    Ok(())
}

/// A connection.
#[derive(Debug)]
pub struct Stream {
    io: Io,
    home: Home,
    /// It is registered where it is served for good.
    settled: bool,
}

#[derive(Debug)]
enum Io {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a Unix socket.
    Unix(UnixStream),
    /// It could not be registered anew.
    Lost,
}

impl Stream {
    fn new(io: Io) -> Self {
        Self { io, home: Home::default(), settled: false }
    }

    /// Says where the connection is served.
    pub fn lives_in(&mut self, home: Home) {
        self.home = home;
    }

    /// Registers the socket with the runtime it is asked on, once its connection has moved there.
    fn settle(&mut self) -> io::Result<()> {
        if self.settled || !self.home.has_arrived() {
            return Ok(());
        }
        self.settled = true;
        self.io = match std::mem::replace(&mut self.io, Io::Lost) {
            Io::Tcp(stream) => Io::Tcp(TcpStream::from_std(stream.into_std()?)?),
            Io::Unix(stream) => Io::Unix(UnixStream::from_std(stream.into_std()?)?),
            Io::Lost => Io::Lost,
        };
        Ok(())
    }
}

fn lost() -> io::Error {
    io::Error::from(io::ErrorKind::NotConnected)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.settle()?;
        match &mut this.io {
            Io::Tcp(stream) => Pin::new(stream).poll_read(cx, into),
            Io::Unix(stream) => Pin::new(stream).poll_read(cx, into),
            Io::Lost => Poll::Ready(Err(lost())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.settle()?;
        match &mut this.io {
            Io::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Io::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Io::Lost => Poll::Ready(Err(lost())),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.settle()?;
        match &mut this.io {
            Io::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
            Io::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
            Io::Lost => Poll::Ready(Err(lost())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Tcp(stream) => stream.is_write_vectored(),
            Io::Unix(stream) => stream.is_write_vectored(),
            Io::Lost => false,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Io::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Io::Lost => Poll::Ready(Err(lost())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Io::Lost => Poll::Ready(Err(lost())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rampart.sock");
        let Acceptor::Unix(first) = Acceptor::unix(&path).unwrap() else { panic!("a Unix socket") };
        assert_eq!(Acceptor::unix(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        // A process that was killed leaves the file and closes the socket.
        std::fs::hard_link(&path, folder.path().join("kept")).unwrap();
        drop(first);
        assert!(!path.exists(), "it goes with its listener");
        std::fs::rename(folder.path().join("kept"), &path).unwrap();
        let again = Acceptor::unix(&path).unwrap();
        assert_eq!(again.place().unwrap(), Place::Unix(path.clone()));
        drop(again);
        std::fs::write(&path, "a file").unwrap();
        assert!(Acceptor::unix(&path).is_err(), "no other file is replaced");
        assert!(path.exists());
    }
}
