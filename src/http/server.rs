//! The sockets and the threads behind them, with every limit of theirs.

use std::future::ready;
use std::net::SocketAddr;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol, Request};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, map_config};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Server, Service, ServiceFactory, ServiceResponse, fn_service};
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::{App, Error, web};
use tokio::net::TcpSocket;

use super::connection::Connection;
use super::requests::with_request_id;
use super::state::Doors;
use super::{not_found, routes};
use crate::settings::{BACKLOG_MAX, CONNECTIONS_MAX, KEEP_ALIVE, LINGER};

/// Binds the sockets and starts the HTTP threads. Nothing is served before the returned server is polled.
pub fn serve(doors: web::Data<Doors>) -> std::io::Result<(Server, SocketAddr)> {
    let settings = doors.settings.server.clone();
    let limits = Limits { workers: settings.workers, shutdown_timeout: settings.shutdown_timeout };
    let base_path = settings.base_path.clone();
    listen(settings.bind_addr, limits, move || {
        App::new()
            .app_data(doors.clone())
            .wrap(from_fn(with_request_id))
            .service(web::scope(&base_path).configure(routes::all))
            .default_service(web::to(not_found))
    })
}

/// `/metrics` alone, on a port of its own (`METRICS_PORT`).
pub fn serve_metrics(doors: web::Data<Doors>, port: u16) -> std::io::Result<Server> {
    let settings = doors.settings.server.clone();
    let limits = Limits { workers: 1, shutdown_timeout: settings.shutdown_timeout };
    let (server, _) = listen((settings.bind_addr.ip(), port).into(), limits, move || {
        App::new()
            .app_data(doors.clone())
            .wrap(from_fn(with_request_id))
            .configure(routes::metrics_alone)
            .default_service(web::to(not_found))
    })?;
    Ok(server)
}

#[derive(Clone, Copy)]
struct Limits {
    workers: usize,
    shutdown_timeout: Duration,
}

/// As the HTTP library's own server does it, but for what stands between it and the sockets.
fn listen<F, I, S, B>(address: SocketAddr, limits: Limits, app: F) -> std::io::Result<(Server, SocketAddr)>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<B>, Error = Error> + 'static,
    S::InitError: std::fmt::Debug,
    S::Service: 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG_MAX)?.into_std()?;
    let address = listener.local_addr()?;
    let builder = Server::build()
        .workers(limits.workers)
        .max_concurrent_connections(CONNECTIONS_MAX)
        .shutdown_timeout(limits.shutdown_timeout.as_secs())
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let server = builder.listen("http", listener, move || {
        let stopping = stopping.clone();
        let app = app().into_factory().map_err(|error| error.error_response());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(KEEP_ALIVE)
            // The connection itself limits every head, not the first alone.
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(LINGER)
            .local_addr(address)
            .on_connect_ext(|connection: &Connection, data| {
                data.insert(connection.turn());
            })
            .finish(map_config(app, |()| AppConfig::default()));
        fn_service(|stream: TcpStream| {
            let peer = stream.peer_addr().ok();
            ready(Ok::<_, DispatchError>((Connection::new(stream), Protocol::Http1, peer)))
        })
        .and_then(http)
    })?;
    Ok((server.run(), address))
}
