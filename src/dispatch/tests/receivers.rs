//! Receivers on loopback, each with its own way to behave. They never outlive their test's runtime.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::model::tls::{Authorities, ClientCertificate};

pub(super) const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Accepts connections and runs `script` with each and its number, from 1.
pub(super) async fn receiver<Script>(script: impl Fn(TcpStream, usize) -> Script + Send + 'static) -> SocketAddr
where
    Script: Future<Output = ()> + Send + 'static,
{
    receiver_at("127.0.0.1", script).await
}

/// The same, at an address of this machine.
pub(super) async fn receiver_at<Script>(ip: &str, script: impl Fn(TcpStream, usize) -> Script + Send + 'static) -> SocketAddr
where
    Script: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 1.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            tokio::spawn(script(stream, number));
        }
    });
    address
}

/// Reads one request, writes `answer` in pieces with a pause after each, and closes.
pub(super) async fn answering(answer: Vec<&'static [u8]>, pause_ms: u64) -> SocketAddr {
    receiver(move |mut stream, _| {
        let answer = answer.clone();
        async move {
            read_request(&mut stream).await;
            for piece in answer {
                if stream.write_all(piece).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            }
        }
    })
    .await
}

/// Answers every request on every connection with 200, and counts the connections.
pub(super) async fn obedient() -> (SocketAddr, Arc<AtomicUsize>) {
    answering_so_many(usize::MAX).await
}

/// Answers one request on each connection; what comes next is read, and the connection closed without a word. It counts the connections.
pub(super) async fn answering_once() -> (SocketAddr, Arc<AtomicUsize>) {
    answering_so_many(1).await
}

async fn answering_so_many(answers: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let address = receiver(move |mut stream, number| {
        counted.store(number, Ordering::SeqCst);
        async move {
            for answered in 0.. {
                if read_request(&mut stream).await.is_empty() || answered == answers {
                    return;
                }
                stream.write_all(OK).await.unwrap();
            }
        }
    })
    .await;
    (address, connections)
}

/// Tells what it hears on each connection, and answers nothing.
pub(super) async fn hearing() -> (SocketAddr, mpsc::Receiver<String>) {
    let (heard, was_heard) = mpsc::channel(1);
    let address = receiver(move |mut stream, _| {
        let heard = heard.clone();
        async move { heard.send(read_request(&mut stream).await).await.unwrap() }
    })
    .await;
    (address, was_heard)
}

/// Reads up to the end of the body that every test sends, or of the connection.
pub(super) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !bytes.ends_with(super::BODY) {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A certificate that signed itself, with its key.
pub(super) struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Identity {
    pub(super) fn of(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    pub(super) fn with(name: &str, change: impl FnOnce(&mut rcgen::CertificateParams)) -> Self {
        let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut parameters);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap().der().clone();
        Self { certificate, key: key.serialize_der() }
    }

    /// The roots of somebody who trusts it.
    pub(super) fn as_roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        roots
    }

    /// What a webhook has that trusts it.
    pub(super) fn as_authorities(&self) -> Authorities {
        Authorities { file: "ca.pem".into(), certificates: vec![self.certificate.to_vec()] }
    }

    /// What a webhook has that shows it.
    pub(super) fn as_client(&self) -> ClientCertificate {
        let (certificate_file, key_file) = ("crm.pem".into(), "crm.key".into());
        ClientCertificate { certificate_file, key_file, chain: vec![self.certificate.to_vec()], key: self.key.clone().into() }
    }

    pub(super) fn acceptor(&self, protocols: &[&str]) -> TlsAcceptor {
        self.acceptor_of(rustls::ALL_VERSIONS, protocols, None)
    }

    /// `client` is whom it lets in, when it does not let in everybody.
    pub(super) fn acceptor_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
        client: Option<&Self>,
    ) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions).unwrap();
        let builder = if let Some(client) = client {
            let roots = Arc::new(client.as_roots());
            builder.with_client_cert_verifier(rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(self.key.clone()).unwrap();
        let mut config = builder.with_single_cert(vec![self.certificate.clone()], key).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Shakes hands on every connection and runs `script` with what comes of it and the connection's number.
pub(super) async fn tls_receiver<Script>(
    acceptor: TlsAcceptor,
    script: impl Fn(TlsStream<TcpStream>, usize) -> Script + Clone + Send + Sync + 'static,
) -> SocketAddr
where
    Script: Future<Output = ()> + Send + 'static,
{
    receiver(move |stream, number| {
        let (acceptor, script) = (acceptor.clone(), script.clone());
        async move {
            match acceptor.accept(stream).into_fallible().await {
                Ok(stream) => script(stream, number).await,
                // Closed with something unread, it would be reset, and its last words could be lost.
                Err((_, mut stream)) => while matches!(stream.read(&mut [0; 4096]).await, Ok(1..)) {},
            }
        }
    })
    .await
}

/// Answers each request, of HTTP/1.1 or HTTP/2, with 200 and a body that says `<version> on connection <number>`.
pub(super) async fn serve(stream: TlsStream<TcpStream>, number: usize) {
    let answer = hyper::service::service_fn(|request: hyper::Request<Incoming>| async move {
        let text = format!("{:?} on connection {number}", request.version());
        drop(request.into_body().collect().await);
        Ok::<_, std::convert::Infallible>(hyper::Response::new(Full::new(Bytes::from(text))))
    });
    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    drop(server.serve_connection(TokioIo::new(stream), answer).await);
}
