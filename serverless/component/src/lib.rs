//! Quaver as a component for hosts of `wasi:http` 0.2: one model behind the Open Inference Protocol.
//!
//! | module | what it holds |
//! |---|---|
//! | `app` | the model, ready to run |
//! | `embed` | what `quaver componentize` calls to put a model in |
//! | `exchange` | from a `wasi:http` request to bytes, and from an answer to a response |
//! | `native` | the host's kernels, where it lends them |
//!
//! The build of this crate has no model. `quaver componentize` runs it once, gives it a file, lets it open that and plan its runs, and
//! keeps the memory as it is then. So an instance starts with everything in place, in pages that all instances share until they
//! write to them.

mod app;
mod embed;
mod exchange;
mod native;

use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct Component;

impl wasip2::exports::http::incoming_handler::Guest for Component {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let answer = exchange::Request::receive(request).map_or_else(|refusal| refusal, app::answer);
        exchange::send(answer, out);
    }
}

wasip2::http::proxy::export!(Component);
