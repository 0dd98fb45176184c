//! What a request to a component costs beyond the inference: `cargo bench -p quaver-serverless --bench cold -- FILE.qvr...`, after
//! `cargo xtask wasm`.
//!
//! Every way is tried in turns, some runs at a time, without HTTP: plain inference by a session that is warm, natively and in WebAssembly, there also in an
//! engine that can stop it, as that of components can; and a request to a component, its instance included, by its own kernels and by
//! the host's. Then many instances are made and left idle, for what each takes of memory. Results are checked first. One thread.

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
const TIME: Duration = Duration::from_secs(10);
/// Runs of a way at a time.
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
        guest.set(handle, &[(case.bytes(), &case.shape)]).expect("fits");
        move || guest.run(handle).expect("it runs")
    });

    let [wasm, stoppable] = &mut guests;
    let idle = |served: &Served| runtime.block_on(served.app.idle(&served.named)).expect("an instance");
    let mut times: [Vec<f64>; 6] = Default::default();
    let start = Instant::now();
    while start.elapsed() < TIME {
        times[0].extend(turn(|| session.infer(&views).map(|_| ()).expect("it runs")));
        times[1].extend(turn(&mut *wasm));
        times[2].extend(turn(&mut *stoppable));
        times[3].extend(turn(|| own.ask(&runtime, &case)));
        times[4].extend(turn(|| lent.ask(&runtime, &case)));
        times[5].extend(turn(|| idle(&lent)));
    }
    println!("{}", path.display());
    for (name, at) in [("median", 2), ("first tenth", 10)] {
        let [native, wasm, stoppable, own, lent, instance] = times.each_mut().map(|times| part(times, at));
        println!(" {name}, us");
        println!("  plain inference: native {native:.0}, WebAssembly {wasm:.0}, where it can be stopped {stoppable:.0}");
        println!("  request to a component: by lent kernels {lent:.0}, by its own {own:.0}");
        println!("  beyond inference: {:.0}, and {:.0}; of which the instance {instance:.0}", lent - native, own - stoppable);
    }
    let before = resident();
    let idle: Vec<_> = (0..IDLE).map(|_| idle(&own)).collect();
    println!("  memory of an idle instance    {:8.0} KiB", (resident() - before) / f64::from(IDLE) / 1024.0);
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

/// Microseconds of each of some runs, after one that finds the caches as others left them. What is made is dropped in none's time.
fn turn<T>(mut work: impl FnMut() -> T) -> impl Iterator<Item = f64> {
    (0..=RUNS)
        .map(move |_| {
            let start = Instant::now();
            let made = work();
            let time = start.elapsed().as_secs_f64() * 1e6;
            drop(made);
            time
        })
        .skip(1)
}

/// The time that one of `of` is not above: 2 for the median.
fn part(times: &mut [f64], of: usize) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / of]
}

/// Bytes of this process that are in memory, shared pages counted by their share.
fn resident() -> f64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let kib = rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or(f64::NAN) * 1024.0
}
