//! Certificates for servers of tests, from an authority that is made on the spot.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A server's certificate and its key.
#[derive(Debug)]
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    /// Makes one.
    #[expect(clippy::new_without_default, reason = "each one is another")]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key from the system's random numbers");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "Authority of a test");
        let certificate = params.self_signed(&key).expect("sound parameters");
        Self {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Its certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A server of this name or address, valid as long as anybody asks.
    pub fn vouch(&self, host: &str) -> Identity {
        self.vouch_between(host, 1971, 4000)
    }

    /// As [`Authority::vouch`], valid from the first day of one year to that of another.
    pub fn vouch_between(&self, host: &str, from: i32, until: i32) -> Identity {
        let key = KeyPair::generate().expect("a key from the system's random numbers");
        let mut params = CertificateParams::new([host.to_owned()]).expect("a host's name");
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        let certificate = params.signed_by(&key, &self.issuer).expect("sound parameters");
        Identity {
            certificate: certificate.der().clone(),
            key: key.into(),
        }
    }
}

impl Identity {
    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has suites for them")
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .expect("the key of this certificate");
        Arc::new(config)
    }
}
