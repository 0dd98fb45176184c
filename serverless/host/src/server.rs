//! Connections, and an end that loses nothing.
//!
//! Once told to end, a server says that it isn't ready, ends what it has begun, and refuses the rest with 503, on connections that are
//! open as on new ones; then it closes them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use crate::catalog::Catalog;
use crate::guest::Guests;
use crate::metrics::Metrics;
use crate::native::Pool;
use crate::service::{Service, UNIT, idle};
use crate::{Options, ServeError};

/// A server that has its address and its files.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    service: Arc<Service>,
    options: Options,
}

/// How long to wait where accepting a connection fails, as when there are no more files to be had.
const PAUSE: Duration = Duration::from_millis(50);

impl Server {
    /// Loads everything and takes the address.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn bind(options: Options) -> Result<Self, ServeError> {
        let metrics = Arc::new(Metrics::default());
        let buffers = Arc::default();
        let batches = (options.max_batch, options.batch_delay);
        let pool = Pool::new(options.threads, batches, Arc::clone(&buffers), Arc::clone(&metrics)).map_err(ServeError::Thread)?;
        let pool = Arc::new(pool);
        let guests = Arc::new(Guests::new(&options, &pool, &metrics)?);
        let catalog = Catalog::open(&options, guests, Arc::clone(&pool), Arc::clone(&metrics))?;
        let listener = TcpListener::bind(options.listen).await;
        let listener = listener.map_err(|source| ServeError::Listen { address: options.listen, source })?;
        let service = Service {
            catalog,
            pool,
            metrics,
            // At least one body of the largest size, or none could come.
            bodies: Semaphore::new(options.limits.bodies.max(options.limits.body).div_ceil(UNIT).min(Semaphore::MAX_PERMITS)),
            buffers,
            limits: options.limits.clone(),
            draining: AtomicBool::new(false),
            running: AtomicUsize::new(0),
            ended: Notify::new(),
        };
        Ok(Self { listener, service: Arc::new(service), options })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub fn address(&self) -> Result<SocketAddr, ServeError> {
        self.listener.local_addr().map_err(|source| ServeError::Listen { address: self.options.listen, source })
    }

    /// Serves until `stop`, then until what was begun has ended, as long as [`Options::drain`].
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { listener, service, options } = self;
        let looking = (!options.reload.is_zero()).then(|| tokio::spawn(look(Arc::clone(&service), options.reload)));
        let connections = Arc::new(Semaphore::new(options.limits.connections));
        let graceful = GracefulShutdown::new();
        let accepting = async {
            loop {
                // Never closed.
                let Ok(place) = Arc::clone(&connections).acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let serving = connection(stream, Arc::clone(&service), &options, &graceful);
                        tokio::spawn(async move {
                            serving.await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::warn!("a connection can't be accepted: {error}");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        };
        let draining = async {
            stop.await;
            tracing::info!("ending: no more requests are taken");
            service.draining.store(true, Ordering::Release);
            idle(&service, options.drain).await
        };
        let ended = tokio::select! {
            () = accepting => false,
            ended = draining => ended,
        };
        if let Some(looking) = looking {
            looking.abort();
        }
        drop(listener);
        // Connections that are idle close now, and those on which a request is being refused, once it is.
        let closed = timeout(options.limits.head_time.min(options.drain), graceful.shutdown()).await.is_ok();
        tracing::info!(ended, closed, "ended");
    }
}

/// Looks for changed files again and again.
async fn look(service: Arc<Service>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let service = Arc::clone(&service);
        // Loading takes time that no other request should wait for.
        let looked = tokio::task::spawn_blocking(move || service.catalog.refresh()).await;
        if let Err(error) = looked {
            tracing::error!("looking for changes broke down: {error}");
        }
    }
}

/// Serves a connection to its end.
fn connection(
    stream: TcpStream,
    service: Arc<Service>,
    options: &Options,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + Send + use<> {
    // An answer is one write, so there is nothing to wait for.
    let _ = stream.set_nodelay(true);
    let metrics = Arc::clone(&service.metrics);
    let answering = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, std::convert::Infallible>(service.answer(request).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(options.limits.head_time);
    let serving = graceful.watch(builder.serve_connection(TokioIo::new(stream), answering));
    async move {
        metrics.connections.inc();
        if let Err(error) = serving.await {
            tracing::debug!("a connection ended: {error}");
        }
        metrics.connections.dec();
    }
}
