//! The cloud as a server.

use std::io;
use std::net::SocketAddr;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};
use serde_json::json;

use super::{Config, Shared, doors, oauth, subscriptions, webhooks};

/// A request's body is a form or a fault: short.
const BODY_MAX_BYTES: usize = 1 << 20;
const WORKERS: usize = 1;

/// A cloud that runs.
#[derive(Debug)]
pub struct Cloud {
    /// Where it listens.
    pub address: SocketAddr,
    handle: ServerHandle,
}

impl Cloud {
    /// The base address of both vendors; WHOOP's API is behind `/developer`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it, and every request that is under way.
    pub async fn stop(self) {
        self.handle.stop(false).await;
    }
}

/// Starts a cloud. It serves and sends while the returned future is polled (or spawned), which ends when it is stopped.
///
/// # Errors
/// It cannot listen there, or there can be no HTTP client.
pub fn serve(config: Config) -> io::Result<(Cloud, impl Future<Output = io::Result<()>>)> {
    let listen = config.listen;
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
    let server = server.workers(WORKERS).disable_signals().bind(listen)?;
    let address = server.addrs().first().copied().unwrap_or(listen);
    let server = server.run();
    let handle = server.handle();
    let running = async {
        tokio::select! {
            ended = server => ended,
            () = sending => Ok(()),
        }
    };
    Ok((Cloud { address, handle }, running))
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
