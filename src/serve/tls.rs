//! TLS of the data plane: a certificate and a key from PEM files, once at the start.
//!
//! HTTP/2 and HTTP/1.1 are offered, since gRPC needs the first and browsers and probes may want the second. Clients are
//! not asked for certificates; who may do what is decided by tokens.

use std::path::Path;
use std::sync::Arc;

use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{self, ServerConfig};

/// Why there will be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// One of the files cannot be used.
    #[error("{path} cannot be used: {problem}; name a PEM file with {wanted}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: String,
        /// What should be in it.
        wanted: &'static str,
    },
    /// The two do not go together, or not with this server.
    #[error("the certificate {cert} and the key {key} cannot be used together: {error}")]
    Pair {
        /// The certificate's file.
        cert: String,
        /// The key's file.
        key: String,
        /// Why.
        error: rustls::Error,
    },
}

/// Reads the certificate, with its chain, and the key.
///
/// # Errors
/// Which file is wrong, and why.
pub fn load(cert: &Path, key: &Path) -> Result<TlsAcceptor, TlsFault> {
    let wanted = "the server's certificate and the chain above it";
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<_, _>>)
        .map_err(|error| fault(cert, &error, wanted))?;
    if chain.is_empty() {
        return Err(fault(cert, &pem::Error::NoItemsFound, wanted));
    }
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| fault(key, &error, "the certificate's private key, without a passphrase"))?;
    let pair = |error| TlsFault::Pair { cert: cert.display().to_string(), key: key.display().to_string(), error };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn fault(path: &Path, error: &pem::Error, wanted: &'static str) -> TlsFault {
    let problem = match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "there is none in it".to_owned(),
        other => format!("it is not PEM ({other})"),
    };
    TlsFault::File { path: path.display().to_string(), problem, wanted }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use tokio::time::timeout;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::serve::connection::ConnectionLimits;
    use crate::serve::listen::{ListenOptions, Listener};

    const GUARD: Duration = Duration::from_secs(30);

    /// A listener with a certificate, where it is, and a client that trusts it.
    fn listener() -> (Listener, std::net::SocketAddr, TlsConnector) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 16).unwrap();
        let address = listener.local_addr().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (listener.with_tls(Some(load(&cert, &key).unwrap())), address, TlsConnector::from(Arc::new(client)))
    }

    #[tokio::test]
    async fn a_handshake_that_dawdles_ends_with_the_time_for_a_head_and_a_whole_one_is_served_and_drained() {
        let (listener, address, client) = listener();
        let limits = ConnectionLimits { head_timeout: Duration::from_millis(300), ..ConnectionLimits::default() };
        let options = ListenOptions { limits, ..ListenOptions::default() };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let routes = Router::new().route("/", get(|| async { "hello" }));
        let serving = tasks.spawn(listener.serve(routes, options, tasks.clone(), stop.clone()));
        let mut byte = [0; 1];
        let mut silent = TcpStream::connect(address).await.unwrap();
        silent.write_all(&[0x16]).await.unwrap();
        let ended = timeout(GUARD, silent.read(&mut byte)).await.expect("the guard of 30 s");
        assert!(matches!(ended, Ok(0) | Err(_)), "it is closed");
        // A handshake alone does not hold a connection either.
        let name = || rustls_pki_types::ServerName::try_from("localhost").unwrap();
        let mut idle = client.connect(name(), TcpStream::connect(address).await.unwrap()).await.unwrap();
        let ended = timeout(GUARD, idle.read(&mut byte)).await.expect("the guard of 30 s");
        assert!(matches!(ended, Ok(0) | Err(_)), "it is closed");
        let mut asks = client.connect(name(), TcpStream::connect(address).await.unwrap()).await.unwrap();
        asks.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut answer = [0; 15];
        timeout(GUARD, asks.read_exact(&mut answer)).await.expect("the guard of 30 s").unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        stop.cancel();
        let report = timeout(GUARD, serving).await.expect("the guard of 30 s").unwrap();
        assert_eq!((report.open, report.aborted), (1, 0), "the kept connection is asked to end, and does");
    }
}
