//! From a request to who answers it.
//!
//! | path | who |
//! |---|---|
//! | `/v2/…`, `/v1/…` | models, by the Open Inference Protocol |
//! | `/apps/NAME/…` | the component NAME, which sees what follows its name |
//! | `/metrics` | numbers for Prometheus |

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use quaver_protocol::answer::HEADER_LENGTH;
use quaver_protocol::{Answer, Description, Head, Inference, ProtocolError, Route, route};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::Limits;
use crate::body::{self, Buffers, Unread};
use crate::catalog::{Catalog, Entry, Served};
use crate::guest::App;
use crate::metrics::Metrics;
use crate::native::{Model, Pool, Tensor};

/// What answers requests.
#[derive(Debug)]
pub struct Service {
    /// What is served.
    pub catalog: Catalog,
    pub(crate) pool: Arc<Pool>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
    /// Room for bodies, in units of [`UNIT`] bytes.
    pub(crate) bodies: Semaphore,
    /// Where they lie.
    pub(crate) buffers: Arc<Buffers>,
    /// Whether the server is ending: it takes no more requests then.
    pub(crate) draining: AtomicBool,
    /// Requests that are being answered.
    pub(crate) running: AtomicUsize,
    /// Tells when one of them has ended.
    pub(crate) ended: Notify,
}

/// A response with a body that is all there.
pub type Whole = Response<Full<Bytes>>;

/// Who answered, for metrics.
struct Answered {
    target: String,
    response: Whole,
}

/// Bytes that room for bodies is counted in.
pub const UNIT: usize = 1 << 10;

/// The protocol's header.
const HEADER: HeaderName = HeaderName::from_static(HEADER_LENGTH);

/// One that is being answered, until this is dropped: also where its client goes away.
struct Running<'a>(&'a Service);

impl<'a> Running<'a> {
    fn on(service: &'a Service) -> Self {
        service.running.fetch_add(1, Ordering::AcqRel);
        service.metrics.running.inc();
        Self(service)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
        self.0.metrics.running.dec();
        self.0.ended.notify_waiters();
    }
}

impl Service {
    /// Answers a request.
    pub async fn answer(&self, request: Request<Incoming>) -> Whole {
        let start = Instant::now();
        let running = Running::on(self);
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let Answered { target, mut response } = self.find(request).await;
        if self.is_draining() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        drop(running);
        let (status, time) = (response.status().as_u16(), start.elapsed());
        self.metrics.answered(&target, status, time);
        let ms = time.as_secs_f64() * 1e3;
        tracing::debug!(%method, path, target, status, ms, "answered");
        response
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    async fn find(&self, request: Request<Incoming>) -> Answered {
        let path = request.uri().path().to_owned();
        let of = |target: &str, response: Whole| Answered { target: target.to_owned(), response };
        if path == "/metrics" {
            let text = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            return of("metrics", whole(StatusCode::OK, text, self.metrics.text().into()));
        }
        let served = self.catalog.served();
        if let Some(rest) = path.strip_prefix("/apps/") {
            let (name, _) = rest.split_once('/').unwrap_or((rest, ""));
            return match served.apps.get(name) {
                Some(entry) => of(name, self.app(name, entry, &served, request).await),
                None => of("none", refusal(404, "there is no component of that name")),
            };
        }
        match route(request.method().as_str(), &path) {
            Err(error) => of("none", sent((&error).into())),
            Ok(Route::Live) => of("health", sent(Answer::state("live", true))),
            Ok(Route::Ready) => of("health", sent(Answer::state("ready", !self.is_draining()))),
            Ok(Route::Server) => of("server", sent(Description::server())),
            Ok(Route::Models) => of("server", sent(Description::models(served.models.keys().map(String::as_str)))),
            Ok(found @ (Route::Model(name) | Route::ModelReady(name) | Route::Infer(name) | Route::Classify(name))) => {
                match served.models.get(name) {
                    Some(entry) => of(name, self.model(entry, found, request).await),
                    None => of("none", sent((&unknown(name, &served)).into())),
                }
            }
        }
    }

    async fn model(&self, entry: &Entry<Model>, route: Route<'_>, request: Request<Incoming>) -> Whole {
        let is_photo = match route {
            Route::Model(_) => return sent(entry.what.description.metadata()),
            Route::Infer(_) => false,
            Route::Classify(_) => true,
            _ => return sent(Answer::state("ready", !self.is_draining())),
        };
        let (request, _room) = match self.read(request).await {
            Ok(read) => read,
            Err(refused) => return refused,
        };
        let Some(_pass) = entry.gate.enter().await else { return busy() };
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let head = Head {
            path: request.uri().path_and_query().map_or("", |path| path.as_str()),
            content_type: header(CONTENT_TYPE),
            header_length: header(HEADER),
        };
        sent(self.infer(&entry.what, &head, request.body(), is_photo).await.unwrap_or_else(|refusal| refusal))
    }

    async fn infer(&self, model: &Arc<Model>, head: &Head<'_>, body: &Bytes, is_photo: bool) -> Result<Answer, Answer> {
        let refuse = |error: ProtocolError| Answer::from(&error);
        let description = &model.description;
        let read = if is_photo { Inference::photo(description, head, body) } else { Inference::read(description, head, body) };
        let Inference { inputs, reply } = read.map_err(refuse)?;
        let tensor = |(port, input): (&quaver_protocol::description::Port, quaver_protocol::Input<'_>)| match input.bytes {
            Cow::Borrowed(bytes) => Tensor::new(port.dtype, input.shape, body.slice_ref(bytes)),
            Cow::Owned(bytes) => Tensor::new(port.dtype, input.shape, bytes.into()),
        };
        let inputs = description.inputs.iter().zip(inputs).map(tensor).collect::<Option<Vec<_>>>();
        let inputs = inputs.ok_or_else(|| Answer::refusal(503, "there is no memory for the inputs"))?;
        let outputs = self.pool.infer(model, inputs).await.map_err(|error| Answer::refusal(error.status(), &error.to_string()))?;
        let views = outputs.iter().filter_map(Tensor::view).collect::<Vec<_>>();
        reply.answer(description, &views).map_err(refuse)
    }

    async fn app(&self, name: &str, entry: &Entry<App>, served: &Served, request: Request<Incoming>) -> Whole {
        let (request, _room) = match self.read(request).await {
            Ok(read) => read,
            Err(refused) => return refused,
        };
        let Some(request) = inner(name, request) else { return refusal(400, "the request has no host, or its path is none") };
        let Some(_pass) = entry.gate.enter().await else { return busy() };
        match entry.what.answer(request.map(Full::new), &served.named).await {
            Ok(response) => response.map(Full::new),
            Err(fault) => {
                self.metrics.fault(name, fault.kind());
                tracing::warn!(name, fault = fault.kind(), cause = fault.cause(), "a guest failed");
                refusal(fault.status(), &fault.to_string())
            }
        }
    }

    /// Reads a request to its end, or says why not. Its room is taken until the permit is dropped.
    async fn read(&self, request: Request<Incoming>) -> Result<(Request<Bytes>, SemaphorePermit<'_>), Whole> {
        if self.is_draining() {
            return Err(closing(refusal(503, "the server is ending")));
        }
        let most = self.limits.body;
        let long = || closing(refusal(413, &format!("the body should have at most {most} bytes")));
        let (parts, body) = request.into_parts();
        if body.size_hint().lower() > most as u64 {
            return Err(long());
        }
        // As long as it says to be; else as long as it may be.
        let length = body.size_hint().exact().map_or(most, |length| length as usize);
        let units = u32::try_from(length.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let room = match timeout(self.limits.queue_time, self.bodies.acquire_many(units)).await {
            Ok(Ok(room)) => room,
            Ok(Err(_)) | Err(_) => return Err(closing(busy())),
        };
        // Where elements begin; a header that is no number is refused later.
        let elements = parts.headers.get(HEADER).and_then(|value| value.to_str().ok()?.trim().parse().ok()).unwrap_or(0);
        match timeout(self.limits.body_time, body::read(body, most, elements, &self.buffers)).await {
            Err(_) => Err(closing(refusal(408, "the body took too long to arrive"))),
            Ok(Err(Unread::Long)) => Err(long()),
            Ok(Err(Unread::Early)) => Err(closing(refusal(400, "the body ended early"))),
            Ok(Err(Unread::Memory)) => Err(closing(refusal(503, "there is no memory for the body"))),
            Ok(Ok(body)) => Ok((Request::from_parts(parts, body), room)),
        }
    }
}

/// The request as the component sees it: without `/apps/NAME`.
fn inner(name: &str, request: Request<Bytes>) -> Option<Request<Bytes>> {
    let (mut parts, body) = request.into_parts();
    let rest = parts.uri.path_and_query()?.as_str().strip_prefix("/apps/")?.strip_prefix(name)?;
    let path = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
    parts.uri = path.parse::<Uri>().ok()?;
    // What says whom a request is for; HTTP/1.0 may do without.
    if !parts.headers.contains_key(HOST) {
        parts.headers.insert(HOST, HeaderValue::from_static("localhost"));
    }
    Some(Request::from_parts(parts, body))
}

fn unknown(name: &str, served: &Served) -> ProtocolError {
    let known: Vec<String> = served.models.keys().map(|name| format!("'{name}'")).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    ProtocolError::Model { name: name.to_owned(), known }
}

fn sent(answer: Answer) -> Whole {
    let Answer { status, content_type, header_length, body } = answer;
    let mut response = whole(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), content_type, body.into());
    if let Some(length) = header_length {
        response.headers_mut().insert(HEADER, HeaderValue::from(length));
    }
    response
}

fn whole(status: StatusCode, content_type: &'static str, body: Bytes) -> Whole {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let mut response = Response::new(Full::new(body));
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response
}

fn refusal(status: u16, message: &str) -> Whole {
    sent(Answer::refusal(status, message))
}

/// Too much to do.
fn busy() -> Whole {
    let mut response = refusal(503, "too many requests are waiting; try again later");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// With an end to the connection, on which more of the request may lie.
fn closing(mut response: Whole) -> Whole {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Waits until no request is being answered.
pub async fn idle(service: &Service, most: Duration) -> bool {
    let all_ended = async {
        loop {
            let ended = service.ended.notified();
            if service.running.load(Ordering::Acquire) == 0 {
                break;
            }
            // Asked again after a while, as the last may end between the two lines above.
            let _ = timeout(Duration::from_millis(50), ended).await;
        }
    };
    timeout(most, all_ended).await.is_ok()
}
