//! The cloud as a server.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};
use serde_json::{Value, json};

use super::summary::Summary;
use super::tokens::Grant;
use super::{Config, Shared, Vendor, doors, oauth, subscriptions, webhooks};

/// A request's body is a form or a fault: short.
const BODY_MAX_BYTES: usize = 1 << 20;
const WORKERS: usize = 1;
/// How long webhooks that are under way are waited for.
const LAST_ANSWERS: Duration = Duration::from_secs(15);
/// What an app asks WHOOP for, for tokens that can be refreshed.
const SCOPE: &str = "offline";

/// A cloud that runs.
#[derive(Debug)]
pub struct Cloud {
    /// Where it listens.
    pub address: SocketAddr,
    handle: ServerHandle,
    shared: Arc<Shared>,
}

impl Cloud {
    /// The base address of both vendors; WHOOP's API is behind `/developer`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many people have accounts.
    pub fn people(&self) -> usize {
        self.shared.config.people
    }

    /// The name under which a vendor knows a person, and a phone's app its user.
    pub fn account(&self, vendor: Vendor, person: usize) -> String {
        self.shared.account(vendor, person)
    }

    /// A pair of tokens for a person's account, as the vendor's token endpoint tells it.
    pub fn grant(&self, vendor: Vendor, person: usize) -> Value {
        self.shared.tokens.issue(Grant { vendor, person, scope: SCOPE.to_owned() })
    }

    /// Sends no more webhooks, and sums up once those under way are answered. The APIs go on.
    pub async fn fall_silent(&self) -> Summary {
        self.shared.ending.send_replace(true);
        let mut silent = self.shared.silent.subscribe();
        // What is not answered by then is counted as such.
        let _ = tokio::time::timeout(LAST_ANSWERS, silent.wait_for(|silent| *silent)).await;
        let mut summary = self.shared.summary.lock().clone();
        let with_api = Vendor::ALL.into_iter().filter(|vendor| vendor.has_api());
        let fetched = |vendor: Vendor| self.shared.stats.of(&["requests", vendor.name(), "api", "200"]);
        summary.fetched = with_api.map(|vendor| (vendor.name(), fetched(vendor))).collect();
        summary
    }

    /// Ends it, and every request that is under way.
    pub async fn stop(&self) {
        self.handle.stop(false).await;
    }
}

/// Starts a cloud. It serves and sends while the returned future is polled (or spawned), which ends when it is stopped.
///
/// # Errors
/// It cannot listen there, or there can be no HTTP client.
pub fn serve(config: Config) -> io::Result<(Cloud, impl Future<Output = io::Result<()>>)> {
    serve_on(TcpListener::bind(config.listen)?, config)
}

/// The same on a socket that listens already, for who must know the address first.
///
/// # Errors
/// The socket cannot be served, or there can be no HTTP client.
pub fn serve_on(
    listener: TcpListener,
    config: Config,
) -> io::Result<(Cloud, impl Future<Output = io::Result<()>>)> {
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let shared = web::Data::new(Shared::new(config).map_err(io::Error::other)?);
    let sending = webhooks::run(shared.clone().into_inner());
    let server = {
        let shared = shared.clone();
        HttpServer::new(move || {
            App::new()
                .app_data(shared.clone())
                .app_data(web::PayloadConfig::new(BODY_MAX_BYTES))
                .configure(routes)
                .default_service(web::to(nothing))
        })
    };
    let server = server.workers(WORKERS).disable_signals().listen(listener)?.run();
    let handle = server.handle();
    let running = async {
        tokio::select! {
            ended = server => ended,
            // Nothing more is sent, but the APIs go on.
            never = async { sending.await; std::future::pending().await } => never,
        }
    };
    Ok((Cloud { address, handle, shared: shared.into_inner() }, running))
}

async fn nothing() -> HttpResponse {
    HttpResponse::NotFound()
        .json(json!({"error": "no such route: see docs/vendor-cloud.md for those there are"}))
}

fn routes(services: &mut web::ServiceConfig) {
    services
        .route("/oauth/authorize", web::get().to(oauth::authorize_oura))
        .route("/oauth/token", web::post().to(oauth::token_oura))
        .route("/oauth/revoke", web::to(oauth::revoke_oura))
        .route("/oauth/oauth2/auth", web::get().to(oauth::authorize_whoop))
        .route("/oauth/oauth2/token", web::post().to(oauth::token_whoop))
        .route("/v2/usercollection/{path:.*}", web::to(doors::oura_api))
        .route("/developer/{path:.*}", web::to(doors::whoop_api))
        .route("/v2/webhook/subscription{path:.*}", web::to(subscriptions::door))
        .route("/stats", web::get().to(doors::stats))
        .route("/people", web::get().to(doors::people))
        .route("/grants", web::post().to(doors::grants))
        .route("/clock", web::post().to(doors::clock))
        .route("/faults", web::get().to(doors::list_faults))
        .route("/faults", web::post().to(doors::add_faults))
        .route("/faults", web::delete().to(doors::clear_faults));
}
