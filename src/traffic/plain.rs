//! The HTTP client for bridges.

use std::sync::Arc;

use reqwest::ClientBuilder;
use rustls::{ClientConfig, RootCertStore};

/// A client for a bridge, which speaks plain HTTP: past every proxy, and without a look for certificates, which a bare
/// machine has none of.
///
/// # Panics
/// Never: the TLS that it does not use has the versions that its provider knows.
#[expect(clippy::expect_used, reason = "the provider has the default versions")]
pub fn plain_client() -> ClientBuilder {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("the provider has the default versions");
    let tls = builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy()
}
