//! A component that misbehaves as it is told, for tests of the host: what it does is the request's path.
//!
//! | path | what it does |
//! |---|---|
//! | `/echo` | answers the request's body |
//! | `/loop` | goes on for ever |
//! | `/allocate` | takes memory without end |
//! | `/trap` | traps |
//! | `/silent` | ends without an answer |
//! | `/late` | begins an answer, then traps |
//! | `/endless` | answers without end |
//! | `/outgoing` | asks another server, and answers what comes of it |
//! | `/nn/NAME` | runs the model NAME by wasi-nn on the body, f32 of extents in the header `x-shape`, and answers the first output |

use std::hint::black_box;

use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme};
use wasip2::io::streams::{OutputStream, StreamError};

mod nn {
    #![allow(missing_docs, reason = "generated from the interface")]
    wit_bindgen::generate!({
        world: "runner",
        inline: r#"
            package wasi:nn@0.2.0-rc-2024-10-28;
            interface tensor {
                enum tensor-type { FP16, FP32, FP64, BF16, U8, I32, I64 }
                resource tensor {
                    constructor(dimensions: list<u32>, ty: tensor-type, data: list<u8>);
                    data: func() -> list<u8>;
                }
            }
            interface errors {
                resource error {
                    data: func() -> string;
                }
            }
            interface inference {
                use tensor.{tensor};
                use errors.{error};
                resource graph-execution-context {
                    compute: func(inputs: list<tuple<string, tensor>>) -> result<list<tuple<string, tensor>>, error>;
                }
            }
            interface graph {
                use errors.{error};
                use inference.{graph-execution-context};
                resource graph {
                    init-execution-context: func() -> result<graph-execution-context, error>;
                }
                load-by-name: func(name: string) -> result<graph, error>;
            }
            world runner {
                import tensor;
                import errors;
                import inference;
                import graph;
            }
        "#,
        generate_all,
    });
}

use nn::wasi::nn::graph::load_by_name;
use nn::wasi::nn::tensor::{Tensor, TensorType};

struct Guest;

impl wasip2::exports::http::incoming_handler::Guest for Guest {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        match path.as_str() {
            "/echo" => answer(out, 200, &body(request)),
            "/loop" => loop {
                black_box(());
            },
            "/allocate" => {
                let mut all = Vec::new();
                loop {
                    all.push(black_box(vec![1u8; 1 << 20]));
                }
            }
            "/trap" => trap(),
            "/silent" => {}
            "/late" => {
                let stream = begin(out);
                let _ = stream.0.blocking_write_and_flush(b"half of it");
                trap();
            }
            "/endless" => {
                let (stream, _body) = begin(out);
                while stream.blocking_write_and_flush(&[b'x'; 4096]).is_ok() {}
            }
            "/outgoing" => answer(out, 200, outgoing().as_bytes()),
            path => match path.strip_prefix("/nn/") {
                Some(name) => {
                    let shape = request.headers().get("x-shape").concat();
                    let shape = String::from_utf8_lossy(&shape).split(',').filter_map(|extent| extent.parse().ok()).collect();
                    match infer(name, shape, body(request)) {
                        Ok(bytes) => answer(out, 200, &bytes),
                        Err(error) => answer(out, 400, error.as_bytes()),
                    }
                }
                None => answer(out, 404, b"no such behaviour"),
            },
        }
    }
}

wasip2::http::proxy::export!(Guest);

fn trap() -> ! {
    panic!("as told")
}

fn infer(name: &str, shape: Vec<u32>, data: Vec<u8>) -> Result<Vec<u8>, String> {
    let graph = load_by_name(name).map_err(|error| error.data())?;
    let context = graph.init_execution_context().map_err(|error| error.data())?;
    let input = Tensor::new(&shape, TensorType::Fp32, &data);
    let outputs = context.compute(vec![("0".to_owned(), input)]).map_err(|error| error.data())?;
    outputs.first().map(|(_, tensor)| tensor.data()).ok_or_else(|| "no output".to_owned())
}

fn outgoing() -> String {
    let request = OutgoingRequest::new(Fields::new());
    let _ = request.set_scheme(Some(&Scheme::Http));
    let _ = request.set_authority(Some("127.0.0.1:1"));
    let _ = request.set_path_with_query(Some("/"));
    match wasip2::http::outgoing_handler::handle(request, None) {
        Err(error) => format!("refused: {error:?}"),
        Ok(answer) => {
            answer.subscribe().block();
            format!("answered: {:?}", answer.get().map(|answer| answer.map(|answer| answer.map(|answer| answer.status()))))
        }
    }
}

fn body(request: IncomingRequest) -> Vec<u8> {
    let mut bytes = Vec::new();
    let Ok(body) = request.consume() else { return bytes };
    let Ok(stream) = body.stream() else { return bytes };
    loop {
        match stream.blocking_read(1 << 20) {
            Ok(more) => bytes.extend(more),
            Err(StreamError::Closed | StreamError::LastOperationFailed(_)) => return bytes,
        }
    }
}

/// Sends the head of an answer of unknown length.
fn begin(out: ResponseOutparam) -> (OutputStream, OutgoingBody) {
    let response = OutgoingResponse::new(Fields::new());
    let body = response.body().expect("asked once");
    ResponseOutparam::set(out, Ok(response));
    (body.write().expect("asked once"), body)
}

fn answer(out: ResponseOutparam, status: u16, bytes: &[u8]) {
    let response = OutgoingResponse::new(Fields::new());
    response.set_status_code(status).expect("a status");
    let body = response.body().expect("asked once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("asked once");
    for chunk in bytes.chunks(4096) {
        stream.blocking_write_and_flush(chunk).expect("the host listens");
    }
    drop(stream);
    OutgoingBody::finish(body, None).expect("all of it is written");
}
