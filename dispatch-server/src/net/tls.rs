//! TLS: a certificate and its key, which may be replaced while the server runs.

use crate::{StartError, State};
use parking_lot::RwLock;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ServerConfig, version};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

/// How often it is looked at whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What HTTP/2 is called in a handshake.
const HTTP2: &[u8] = b"h2";

/// Where a certificate and its key are.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    certificate: PathBuf,
    key: PathBuf,
}

impl TlsFiles {
    /// Both files, or none where both are empty; else the setting that is missing, and what it should be.
    pub(crate) fn both_or_none(
        certificate: PathBuf,
        key: PathBuf,
    ) -> Result<Option<Self>, (&'static str, &'static str)> {
        match (certificate.as_os_str().is_empty(), key.as_os_str().is_empty()) {
            (true, true) => Ok(None),
            (false, false) => Ok(Some(Self { certificate, key })),
            (true, false) => Err(("tls.certificate", "must be a file, as tls.key is one")),
            (false, true) => Err(("tls.key", "must be a file, as tls.certificate is one")),
        }
    }
}

/// The certificate and the means to use it.
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    pair: Arc<Pair>,
}

impl Tls {
    /// Reads the files; what is wrong with them is said with the setting that names them.
    pub(crate) fn load(files: &TlsFiles) -> Result<Self, StartError> {
        let provider = Arc::new(ring::default_provider());
        let read = Texts::read(files).and_then(|texts| Ok((texts.certified(files, &provider)?, texts)));
        let (key, texts) = read.map_err(StartError)?;
        let pair = Arc::new(Pair { files: files.clone(), provider, current: RwLock::new((Arc::new(key), texts)) });
        let config = ServerConfig::builder_with_provider(pair.provider.clone())
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .expect("the provider has suites of both versions");
        let mut config = config.with_no_client_auth().with_cert_resolver(pair.clone());
        config.alpn_protocols = vec![HTTP2.into(), b"http/1.1".into()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), pair })
    }

    /// The handshake of one connection.
    pub(super) fn accept<T: AsyncRead + AsyncWrite + Unpin>(&self, stream: T) -> Accept<T> {
        self.acceptor.accept(stream)
    }

    /// Looks at the files again and again, as long as the server runs.
    pub(super) async fn follow_files(state: State) -> Infallible {
        let Some(tls) = state.tls() else { return std::future::pending().await };
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once, and the files were read a moment ago.
        look.tick().await;
        loop {
            look.tick().await;
            let pair = tls.pair.clone();
            // Cancelled only if the whole runtime ends meanwhile.
            let _ = tokio::task::spawn_blocking(move || pair.look()).await;
        }
    }
}

/// Whether the client and the server agreed upon HTTP/2.
pub(super) fn is_http2<T>(stream: &TlsStream<T>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP2)
}

/// Whether the client has already sent more than its part of the handshake.
pub(super) fn has_begun<T>(stream: &TlsStream<T>) -> bool {
    !stream.get_ref().1.wants_read()
}

/// A certificate with its key, and the files they come from.
#[derive(Debug)]
struct Pair {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    current: RwLock<(Arc<CertifiedKey>, Texts)>,
}

impl Pair {
    /// Takes the files anew if they have changed. What does not fit together (one of them may not be written yet) changes nothing.
    fn look(&self) {
        let read = match Texts::read(&self.files) {
            Ok(texts) if texts == self.current.read().1 => return,
            Ok(texts) => texts.certified(&self.files, &self.provider).map(|key| (Arc::new(key), texts)),
            Err(problem) => Err(problem),
        };
        match read {
            Ok(new) => {
                *self.current.write() = new;
                tracing::info!("the certificate was replaced");
            }
            Err(problem) => tracing::error!("the certificate stays the one before: {problem}"),
        }
    }
}

impl ResolvesServerCert for Pair {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().0.clone())
    }
}

/// What stands in the files.
#[derive(PartialEq)]
struct Texts {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl std::fmt::Debug for Texts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Texts")
    }
}

impl Texts {
    fn read(files: &TlsFiles) -> Result<Self, String> {
        let read = |setting: &str, path: &Path| {
            std::fs::read(path).map_err(|error| format!("{setting}: cannot read {}: {error}", path.display()))
        };
        Ok(Self { certificate: read("tls.certificate", &files.certificate)?, key: read("tls.key", &files.key)? })
    }

    fn certified(&self, files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.map_err(|error| format!("tls.certificate: {certificate} is not PEM: {error}"))?;
        if chain.is_empty() {
            return Err(format!("tls.certificate: {certificate} has no certificate in it"));
        }
        let secret = PrivateKeyDer::from_pem_slice(&self.key);
        let secret = secret.map_err(|error| format!("tls.key: {key} has no private key in PEM in it: {error}"))?;
        CertifiedKey::from_der(chain, secret, provider)
            .map_err(|error| format!("tls.key: {key} and tls.certificate: {certificate} do not fit together: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::Folder;
    use std::fs;

    /// A certificate and its key, as PEM.
    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn files(folder: &Folder) -> TlsFiles {
        fs::create_dir_all(folder.path()).unwrap();
        let file = |name: &str| format!("{}/{name}", folder.path()).into();
        TlsFiles { certificate: file("certificate.pem"), key: file("key.pem") }
    }

    fn write(files: &TlsFiles, certificate: &str, key: &str) {
        fs::write(&files.certificate, certificate).unwrap();
        fs::write(&files.key, key).unwrap();
    }

    #[test]
    fn files_that_change_are_taken_if_they_fit_together() {
        let folder = Folder::new();
        let files = files(&folder);
        let ((first, first_key), (second, second_key)) = (pair(), pair());
        write(&files, &first, &first_key);
        let pair = Tls::load(&files).unwrap().pair;
        let current = || pair.current.read().0.cert.clone();
        let before = current();
        pair.look();
        assert_eq!(current(), before);
        for (certificate, key) in [(&*second, &*first_key), ("", ""), (&second, "no key"), (&first_key, &second_key)] {
            write(&files, certificate, key);
            pair.look();
            assert_eq!(current(), before, "{certificate}{key}");
        }
        fs::remove_file(&files.key).unwrap();
        pair.look();
        assert_eq!(current(), before);
        write(&files, &second, &second_key);
        pair.look();
        assert_ne!(current(), before);
    }

    #[test]
    fn files_that_do_not_do_are_named_with_their_setting() {
        let folder = Folder::new();
        let files = files(&folder);
        let ((certificate, key), (_, other)) = (pair(), pair());
        let wrong = |setting: &str| {
            let error = Tls::load(&files).map(drop).unwrap_err().to_string();
            assert!(error.contains(&format!(": {setting}: ")) && error.contains(".pem"), "{setting}: {error}");
        };
        wrong("tls.certificate");
        fs::write(&files.certificate, &certificate).unwrap();
        wrong("tls.key");
        for (first, second, setting) in [
            ("", &*key, "tls.certificate"),
            (&key, &key, "tls.certificate"),
            (&certificate, "", "tls.key"),
            (&certificate, &certificate, "tls.key"),
            (&certificate, &other, "tls.key"),
        ] {
            write(&files, first, second);
            wrong(setting);
        }
        write(&files, &certificate, &key);
        Tls::load(&files).map(drop).unwrap();
    }
}
