//! An HTTP probe as kubelet makes it: GET, and any status from 200 to 399 is well. Called by `probe`.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::Ill;

/// Only the first line counts; an application that has not ended it by then speaks something else.
const LONGEST_LINE: usize = 4096;

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Request {
    port: u16,
    path: String,
    #[serde(default)]
    tls: bool,
    #[serde(default)]
    headers: Vec<(String, String)>,
}

impl Request {
    /// Whether it can be written as one request.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err(format!("{:?} is no path", self.path));
        }
        for (name, value) in &self.headers {
            let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if name.is_empty() || !name.bytes().all(token) || value.bytes().any(|byte| byte < b' ' && byte != b'\t') {
                return Err(format!("{name:?} cannot be sent as a header"));
            }
        }
        Ok(())
    }

    pub(super) async fn ask(&self, host: IpAddr) -> Result<(), Ill> {
        let address = SocketAddr::new(host, self.port);
        let stream = TcpStream::connect(address).await?;
        if !self.tls {
            return self.exchange(stream, address).await;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Ill::Answer(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(aws_lc_rs::default_provider())))
            .with_no_client_auth();
        let stream = TlsConnector::from(Arc::new(config)).connect(host.into(), stream).await?;
        self.exchange(stream, address).await
    }

    async fn exchange(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, address: SocketAddr) -> Result<(), Ill> {
        stream.write_all(self.text(address).as_bytes()).await?;
        let mut line = Vec::new();
        while !line.contains(&b'\n') && line.len() < LONGEST_LINE {
            if stream.read_buf(&mut line).await? == 0 {
                break;
            }
        }
        match status(&line) {
            Some(200..400) => Ok(()),
            Some(status) => Err(Ill::Status(status)),
            None => Err(Ill::Answer("it does not answer with HTTP".to_owned())),
        }
    }

    fn text(&self, address: SocketAddr) -> String {
        let has = |name: &str| self.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        let mut text = format!("GET {slash}{} HTTP/1.1\r\nconnection: close\r\n", self.path);
        for (name, value) in [("host", address.to_string()), ("user-agent", "kube-probe/plait".to_owned()), ("accept", "*/*".to_owned())] {
            if !has(name) {
                text += &format!("{name}: {value}\r\n");
            }
        }
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        text + "\r\n"
    }
}

/// Of "HTTP/1.1 204 No Content".
fn status(line: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(line.split(|byte| *byte == b'\n').next()?).ok()?;
    let (version, rest) = text.split_once(' ')?;
    let code = rest.get(..3)?;
    (version.starts_with("HTTP/1.") && code.bytes().all(|byte| byte.is_ascii_digit())).then(|| code.parse().ok())?
}

/// Kubelet checks no certificate in a probe: the application is asked on its own address, in its own pod.
#[derive(Debug)]
struct Anybody(CryptoProvider);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
