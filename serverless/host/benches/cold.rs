//! What a request to a component costs beyond the inference: `cargo bench -p quaver-serverless --bench cold -- FILE.qvr...`, after
//! `cargo xtask wasm`.
//!
//! Every way is tried in turns, some runs at a time, without HTTP: plain inference by a session that is warm, its input given anew,
//! natively and in WebAssembly, there also in an engine that can stop it, as that of components can; and a request to a component, its
//! instance included, by its own kernels and by the host's. What a request costs beyond inference is the difference of two medians in one
//! turn, of which there are many, as other programs slow this one down for longer than a turn takes. Then many instances are made and left
//! idle, for what each takes of memory. Results are checked first. One thread.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use quaver::{Model, Session, SessionOptions, Tensor};
use quaver_serverless::guest::{App, Guests, named};
use quaver_serverless::metrics::Metrics;
use quaver_serverless::native::Pool;
use quaver_serverless::{Limits, Options};
use quaver_tests::guest::{Build, Guest};
use tokio::runtime::Runtime;

/// How long each model is measured.
const TIME: Duration = Duration::from_secs(20);
/// Runs of a way in a turn.
const RUNS: usize = 10;
/// Of an element of any type.
const ALIGNMENT: usize = 8;
/// Instances that are left idle.
const IDLE: u32 = 200;

fn main() {
    let files: Vec<PathBuf> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).map(PathBuf::from).collect();
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/wasm/quaver_component.wasm");
    let Ok(template) = std::fs::read(&template) else {
        println!("skipped: '{}' isn't built; `cargo xtask wasm` does it", template.display());
        return;
    };
    if files.is_empty() {
        println!("skipped: no .qvr file is given");
    }
    for file in files {
        measure(&file, &template);
    }
}

fn measure(path: &Path, template: &[u8]) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
    let file = std::fs::read(path).expect("readable");
    let component = quaver_componentize::componentize(template, &file, "model").expect("a component");
    let case = Case::new(&file);
    let expected = case.native(&file);

    let (own, lent) = (Served::new(&component, false), Served::new(&component, true));
    assert!(lent.app.borrows() && !own.app.borrows());
    for served in [&own, &lent] {
        assert!(served.ask(&runtime, &case).ends_with(&expected), "the component's results are native's");
    }
    let model = Model::from_bytes(&file).expect("valid");
    let mut session = Session::new(&model, SessionOptions::default()).expect("a session");
    let input = [(model.inputs()[0].name.as_str(), Tensor::from_vec(case.shape.clone(), case.data.clone()).expect("fits"))];
    let views = [(input[0].0, input[0].1.view())];
    let mut guests = [Build::Sat, Build::Interruptible].map(|build| {
        let mut guest = Guest::new(build, "sat").expect("a module");
        let handle = guest.open(&file).expect("valid");
        let case = &case;
        move || {
            guest.set(handle, &[(case.bytes(), &case.shape)]).expect("fits");
            guest.run(handle).expect("it runs");
        }
    });

    let [wasm, stoppable] = &mut guests;
    let idle = |served: &Served| runtime.block_on(served.app.idle(&served.named)).expect("an instance");
    let mut turns: Vec<[f64; 6]> = Vec::new();
    let start = Instant::now();
    while start.elapsed() < TIME {
        turns.push([
            turn(|| session.infer(&views).map(|_| ()).expect("it runs")),
            turn(&mut *wasm),
            turn(&mut *stoppable),
            turn(|| own.ask(&runtime, &case)),
            turn(|| lent.ask(&runtime, &case)),
            turn(|| idle(&lent)),
        ]);
    }
    let middle = |of: &dyn Fn(&[f64; 6]) -> f64| {
        let mut all: Vec<f64> = turns.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        [all.len() / 4, all.len() / 2, all.len() * 3 / 4].map(|at| all[at])
    };
    println!("{}: us, medians of {} turns (and their quarters)", path.display(), turns.len());
    let say = |name: &str, of: &dyn Fn(&[f64; 6]) -> f64| {
        let [low, median, high] = middle(of);
        println!("  {name:<60}{median:8.0}  ({low:.0} to {high:.0})");
    };
    say("inference: native", &|turn| turn[0]);
    say("inference: WebAssembly", &|turn| turn[1]);
    say("inference: WebAssembly that can be stopped", &|turn| turn[2]);
    say("request to a component, by lent kernels", &|turn| turn[4]);
    say("request to a component, by its own", &|turn| turn[3]);
    say("beyond inference: by lent kernels", &|turn| turn[4] - turn[0]);
    say("beyond inference: by its own", &|turn| turn[3] - turn[2]);
    say("of which the instance", &|turn| turn[5]);
    let before = resident();
    let idle: Vec<_> = (0..IDLE).map(|_| idle(&own)).collect();
    println!("  {:<60}{:8.0} KiB", "memory of an idle instance", (resident() - before) / f64::from(IDLE) / 1024.0);
    drop(idle);
}

/// A model's one input, with numbers of all sorts.
struct Case {
    shape: Vec<usize>,
    data: Vec<f32>,
    body: Bytes,
    length: String,
}

impl Case {
    fn new(file: &[u8]) -> Self {
        let model = Model::from_bytes(file).expect("valid");
        let port = &model.inputs()[0];
        let shape: Vec<usize> = port.shape.iter().map(|dim| dim.at(1).expect("only the batch is open")).collect();
        let data: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i * 37 % 256) as f32 / 128.0 - 1.0).collect();
        let bytes = data.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let mut header = format!(
            r#"{{"inputs":[{{"name":"{}","shape":{shape:?},"datatype":"FP32","parameters":{{"binary_data_size":{}}}}}],"parameters":{{"binary_data_output":true}}}}"#,
            port.name,
            bytes.len()
        );
        // Elements have a good address, as in the memory that the server reads bodies into.
        header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(ALIGNMENT) - header.len()));
        let length = header.len().to_string();
        Self { shape, data, body: [header.as_bytes(), &bytes].concat().into(), length }
    }

    fn bytes(&self) -> &[u8] {
        &self.body[self.length.parse::<usize>().expect("a number")..]
    }

    fn native(&self, file: &[u8]) -> Vec<u8> {
        let model = Model::from_bytes(file).expect("valid");
        let mut session = Session::new(&model, SessionOptions::default()).expect("a session");
        let input = Tensor::from_vec(self.shape.clone(), self.data.clone()).expect("fits");
        session.run(&[(&model.inputs()[0].name, input)]).expect("it runs").first().expect("an output").bytes().to_vec()
    }
}

struct Served {
    app: App,
    named: Arc<quaver_serverless::guest::Named>,
}

impl Served {
    fn new(component: &[u8], lend: bool) -> Self {
        let limits = Limits { instances: IDLE + 8, ..Limits::default() };
        let options = Options { lend, limits, ..Options::default() };
        let metrics = Arc::new(Metrics::default());
        let pool = Arc::new(Pool::new(1, (1, Duration::ZERO), Arc::default(), Arc::clone(&metrics)).expect("a thread"));
        let guests = Arc::new(Guests::new(&options, &pool, &metrics).expect("an engine"));
        let named = Arc::new(named([].into_iter(), &pool));
        Self { app: App::new("model", Path::new("model.wasm"), component, &guests, &options.limits).expect("a component"), named }
    }

    fn ask(&self, runtime: &Runtime, case: &Case) -> Vec<u8> {
        let request = Request::post("/v2/models/model/infer").header("host", "x").header("inference-header-content-length", &case.length);
        let request = request.header("content-length", case.body.len()).body(Full::new(case.body.clone())).expect("a request");
        let answer = runtime.block_on(self.app.answer(request, &self.named)).expect("an answer");
        assert_eq!(answer.status(), 200, "{}", String::from_utf8_lossy(answer.body()));
        answer.into_body().to_vec()
    }
}

/// Microseconds of a run, the median of some after one that finds the caches as others left them. What is made is dropped in none's time.
fn turn<T>(mut work: impl FnMut() -> T) -> f64 {
    let run = |_| {
        let start = Instant::now();
        let made = work();
        let time = start.elapsed().as_secs_f64() * 1e6;
        drop(made);
        time
    };
    let mut times: Vec<f64> = (0..=RUNS).map(run).skip(1).collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

/// Bytes of this process that are in memory, shared pages counted by their share.
fn resident() -> f64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let kib = rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) * 1024.0
}
