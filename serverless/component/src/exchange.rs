//! From a `wasi:http` request to bytes, and from an answer to a response.

use quaver_protocol::answer::HEADER_LENGTH;
use quaver_protocol::{Answer, Head, Route, route};
use wasip2::http::types::{Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

/// Most bytes of a request's body.
const MAX_BODY: u64 = 64 << 20;
/// Bytes asked for at once.
const READ: u64 = 1 << 22;
/// Bytes read at once of what is copied on.
const PIECE: usize = 1 << 16;

/// A request, read to its end.
pub struct Request {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// The path, with what follows its `?`.
    pub path: String,
    /// The body, but for what is in `elements`.
    pub body: Vec<u8>,
    /// Of a body of JSON and elements behind it, the latter.
    pub elements: Option<Elements>,
    content_type: Option<String>,
    header_length: Option<String>,
}

/// Elements behind a body's JSON.
pub enum Elements {
    /// Read by themselves, they lie where a run can read them.
    Here(Vec<u8>),
    /// To be read, by whom they are for.
    Ahead(Ahead),
}

/// The rest of a body.
pub struct Ahead {
    /// What gives it. Belongs to the body, so it goes first.
    pub stream: InputStream,
    _body: IncomingBody,
    bytes: u64,
}

impl Ahead {
    /// Reads as many as there is room for, through little memory, which stays in the cache.
    pub fn read_into(&self, mut to: &mut [u8]) -> Result<(), Answer> {
        while !to.is_empty() {
            let piece = read(&self.stream, to.len().min(PIECE) as u64, 0)?;
            let Some((now, later)) = to.split_at_mut_checked(piece.len()).filter(|_| !piece.is_empty()) else {
                return Err(broken("it ends early"));
            };
            now.copy_from_slice(&piece);
            to = later;
        }
        Ok(())
    }
}

impl Elements {
    /// How many bytes they have.
    pub fn len(&self) -> usize {
        match self {
            Self::Here(bytes) => bytes.len(),
            Self::Ahead(ahead) => ahead.bytes as usize,
        }
    }

    /// Reads them, if that is to be done.
    pub fn read(self) -> Result<Vec<u8>, Answer> {
        match self {
            Self::Here(bytes) => Ok(bytes),
            Self::Ahead(Ahead { stream, bytes, .. }) => read(&stream, bytes, bytes),
        }
    }
}

fn broken(what: &str) -> Answer {
    Answer::refusal(400, &format!("the body can't be read: {what}"))
}

impl Request {
    /// Reads a request; elements whose number is known are left to be read.
    pub fn receive(request: IncomingRequest) -> Result<Self, Answer> {
        let method = match request.method() {
            Method::Get => "GET".to_owned(),
            Method::Head => "HEAD".to_owned(),
            Method::Post => "POST".to_owned(),
            Method::Put => "PUT".to_owned(),
            Method::Delete => "DELETE".to_owned(),
            Method::Connect => "CONNECT".to_owned(),
            Method::Options => "OPTIONS".to_owned(),
            Method::Trace => "TRACE".to_owned(),
            Method::Patch => "PATCH".to_owned(),
            Method::Other(name) => name,
        };
        let headers = request.headers();
        let header = |name: &str| headers.get(name).into_iter().next().map(|value| String::from_utf8_lossy(&value).into_owned());
        let length = header("content-length").and_then(|value| value.parse::<u64>().ok());
        let too_long = || Answer::refusal(413, &format!("the body should have at most {MAX_BODY} bytes"));
        if length.is_some_and(|length| length > MAX_BODY) {
            return Err(too_long());
        }
        let path = request.path_with_query().unwrap_or_default();
        let (content_type, header_length) = (header("content-type"), header(HEADER_LENGTH));
        let incoming = request.consume().map_err(|()| broken("it was read before"))?;
        let stream = incoming.stream().map_err(|()| broken("it was read before"))?;
        let read = |most: u64| read(&stream, most, length.unwrap_or(0));
        let mut request = Self { method, path, body: Vec::new(), elements: None, content_type, header_length };
        let infers = matches!(route(&request.method, &request.path), Ok(Route::Infer(_)));
        let json = request.head().json_bytes().filter(|_| infers).map(|bytes| bytes as u64);
        // A byte too many shows that there are.
        let mut left = MAX_BODY + 1;
        request.body = read(json.unwrap_or(left).min(left))?;
        left -= request.body.len() as u64;
        if json == Some(request.body.len() as u64) {
            match length.and_then(|length| length.checked_sub(request.body.len() as u64)) {
                Some(bytes) => request.elements = Some(Elements::Ahead(Ahead { stream, _body: incoming, bytes })),
                None => {
                    let elements = read(left)?;
                    left -= elements.len() as u64;
                    request.elements = Some(Elements::Here(elements));
                }
            }
        }
        if left == 0 { Err(too_long()) } else { Ok(request) }
    }

    /// What says how the body is to be read.
    pub fn head(&self) -> Head<'_> {
        Head { path: &self.path, content_type: self.content_type.as_deref(), header_length: self.header_length.as_deref() }
    }
}

/// At most so many bytes, fewer where the body ends. `expected`: how many the whole body says it has.
fn read(stream: &InputStream, most: u64, expected: u64) -> Result<Vec<u8>, Answer> {
    let mut bytes: Vec<u8> = Vec::new();
    while (bytes.len() as u64) < most {
        match stream.blocking_read(READ.min(most - bytes.len() as u64)) {
            // All at once needs no copy.
            Ok(more) if bytes.is_empty() => bytes = more,
            Ok(more) => {
                bytes.reserve(expected.min(most).saturating_sub(bytes.len() as u64) as usize);
                bytes.extend_from_slice(&more);
            }
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => return Err(broken(&error.to_debug_string())),
        }
    }
    Ok(bytes)
}

/// Sends an answer. Where the client is gone, nobody is left to tell.
pub fn send(answer: Answer, out: ResponseOutparam) {
    let headers = Fields::new();
    let header = |name: &str, value: &str| {
        // Names and values are ours, and fields are new, so they can be set.
        let _ = headers.set(name, &[value.as_bytes().to_vec()]);
    };
    header("content-type", answer.content_type);
    header("content-length", &answer.body.len().to_string());
    if let Some(length) = answer.header_length {
        header(HEADER_LENGTH, &length.to_string());
    }
    let response = OutgoingResponse::new(headers);
    let _ = response.set_status_code(answer.status);
    let body = response.body();
    ResponseOutparam::set(out, Ok(response));
    let Ok(body) = body else { return };
    if let Ok(stream) = body.write() {
        let written = write(&stream, &answer.body);
        drop(stream);
        if written.is_err() {
            return;
        }
    }
    let _ = OutgoingBody::finish(body, None);
}

fn write(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    while !bytes.is_empty() {
        let room = stream.check_write()?;
        if room == 0 {
            stream.subscribe().block();
            continue;
        }
        let (now, later) = bytes.split_at(bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
        stream.write(now)?;
        bytes = later;
    }
    stream.blocking_flush()
}
