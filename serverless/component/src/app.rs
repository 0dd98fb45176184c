//! The model, ready to run, and what it answers.

use std::cell::RefCell;

use quaver_core::graph::Dim;
use quaver_core::tensor::{AlignedBytes, TensorView};
use quaver_protocol::{Answer, Asked, Description, Inference, Input, ProtocolError, Reply, Route, route};
use quaver_wasm::session::{Session, SessionError};

use crate::exchange::{Elements, Request};
use crate::native::{self, Digest};

struct App {
    session: Session,
    description: Description,
    digest: Digest,
}

/// Bytes of a request and its answer beside the elements of its inputs.
const BESIDE_TENSORS: usize = 1 << 16;

thread_local! {
    static APP: RefCell<Option<App>> = const { RefCell::new(None) };
}

/// Opens a model that is served under `name`. Where only the number of samples is open, plans a run of one, and takes memory for the body
/// of such a request: what is free now is free in every instance, which then need not ask its host for more.
pub fn open(file: AlignedBytes, name: &str, digest: Digest) -> Result<(), SessionError> {
    let mut session = Session::open(file)?;
    let graph = session.model().graph();
    let description = Description::new(name, graph, session.model().metadata());
    let one = |dims: &Vec<Dim>| dims.iter().map(|dim| dim.at(1)).collect::<Option<Vec<usize>>>();
    let shapes: Option<Vec<Vec<usize>>> = description.inputs.iter().map(|port| one(&port.shape)).collect();
    if let Some(shapes) = shapes {
        let mut body = BESIDE_TENSORS;
        for (index, shape) in shapes.into_iter().enumerate() {
            body += session.input_mut(index, shape)?.len();
        }
        session.prepare()?;
        drop(AlignedBytes::zeroed(body));
    }
    APP.set(Some(App { session, description, digest }));
    Ok(())
}

/// Answers a request.
pub fn answer(request: Request) -> Answer {
    APP.with_borrow_mut(|app| match app {
        None => Answer::refusal(503, "no model is in this component; `quaver componentize MODEL.qvr -o app.wasm` puts one in"),
        Some(app) => app.answer(request).unwrap_or_else(|refusal| refusal),
    })
}

impl App {
    fn answer(&mut self, mut request: Request) -> Result<Answer, Answer> {
        let mut elements = request.elements.take();
        let answer = self.answer_to(&request, &mut elements);
        if let Some(unread) = elements {
            // Clients that are still sending would miss the answer.
            unread.read()?;
        }
        answer
    }

    /// Answers a request, whose elements are taken if they are needed.
    fn answer_to(&mut self, request: &Request, elements: &mut Option<Elements>) -> Result<Answer, Answer> {
        let head = request.head();
        let route = route(&request.method, &request.path).map_err(refuse)?;
        if let Route::Model(name) | Route::ModelReady(name) | Route::Infer(name) | Route::Classify(name) = route {
            self.description.is_called(name).map_err(refuse)?;
        }
        match route {
            Route::Server => Ok(Description::server()),
            Route::Live => Ok(Answer::state("live", true)),
            Route::Ready | Route::ModelReady(_) => Ok(Answer::state("ready", true)),
            Route::Models => Ok(Description::models([self.description.name.as_str()])),
            Route::Model(_) => Ok(self.description.metadata()),
            Route::Infer(_) => match elements.take() {
                None => self.infer(Inference::read(&self.description, &head, &request.body).map_err(refuse)?),
                Some(behind) => match Asked::read(&self.description, &request.body, behind.len()) {
                    Ok(asked) => self.infer_on(asked, behind),
                    Err(error) => {
                        *elements = Some(behind);
                        Err(refuse(error))
                    }
                },
            },
            Route::Classify(_) => self.infer(Inference::photo(&self.description, &head, &request.body).map_err(refuse)?),
        }
    }

    /// Runs what is asked for on those elements, which need not come here where the host's kernels can take them.
    fn infer_on(&mut self, asked: Asked, elements: Elements) -> Result<Answer, Answer> {
        if let (Elements::Ahead(ahead), Some(shapes)) = (&elements, asked.follow()) {
            let lent = native::lent(self.session.model(), &self.digest, &self.description);
            if let Some(lent) = lent {
                return self.reply_with(asked.reply(), &lent?.infer_from(&shapes, &ahead.stream)?);
            }
            for (index, shape) in shapes.into_iter().enumerate() {
                ahead.read_into(self.session.input_mut(index, shape.to_vec()).map_err(not_run)?)?;
            }
            return self.run(asked.reply());
        }
        let elements = elements.read()?;
        self.infer(asked.with(&elements).map_err(refuse)?)
    }

    /// Runs by the host's kernels where it lends them, else by its own.
    fn infer(&mut self, inference: Inference<'_>) -> Result<Answer, Answer> {
        match native::lent(self.session.model(), &self.digest, &self.description) {
            Some(lent) => self.reply_with(&inference.reply, &lent?.infer(&inference.inputs)?),
            None => self.infer_here(inference),
        }
    }

    /// Runs by its own kernels.
    fn infer_here(&mut self, Inference { inputs, reply }: Inference<'_>) -> Result<Answer, Answer> {
        for (index, Input { shape, bytes }) in inputs.into_iter().enumerate() {
            self.session.set_input(index, &bytes, shape).map_err(not_run)?;
        }
        self.run(&reply)
    }

    /// Runs on the inputs that are set.
    fn run(&mut self, reply: &Reply) -> Result<Answer, Answer> {
        self.session.run().map_err(not_run)?;
        let count = self.description.outputs.len();
        let views = (0..count).map(|index| self.session.output(index)).collect::<Result<Vec<_>, _>>().map_err(not_run)?;
        self.reply(reply, &views)
    }

    fn reply_with(&self, reply: &Reply, outputs: &[native::Output]) -> Result<Answer, Answer> {
        let views = outputs.iter().map(native::Output::view).collect::<Option<Vec<_>>>();
        self.reply(reply, &views.ok_or_else(|| Answer::refusal(500, "the host's tensors don't fit their shapes"))?)
    }

    fn reply(&self, reply: &Reply, views: &[TensorView<'_>]) -> Result<Answer, Answer> {
        reply.answer(&self.description, views).map_err(refuse)
    }
}

fn refuse(error: ProtocolError) -> Answer {
    Answer::from(&error)
}

fn not_run(error: SessionError) -> Answer {
    Answer::refusal(if error.kind() == "input" { 400 } else { 500 }, &error.to_string())
}
