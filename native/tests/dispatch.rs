//! The dispatcher as a function: what would run on which machine, told on any machine; and that explaining and tuning follow it.

mod network;

use std::time::Duration;

use network::{Builder, everything, ramp, window};
use quaver::dispatch::query::Query;
use quaver::dispatch::{candidates, choose, explain, tune};
use quaver::{Error, Isa, Peaks, Session, SessionOptions, TensorView, Tuning};
use quaver_core::graph::{Network, ValueId};
use quaver_core::plan::Plan;

/// Rule and kernel of the last node at batch 1.
fn last(net: &Network, isas: &[Isa]) -> (&'static str, &'static str) {
    let plan = Plan::new(&net.graph, 1, usize::MAX).expect("fits");
    let query = Query::new(&net.graph, &plan, net.graph.nodes.last().expect("a node"), 1);
    let choice = choose(&query, isas);
    (choice.rule.name, choice.kernel.name)
}

/// Checks what a node is given on machines up to AMX, AVX-512 VNNI and AVX-VNNI.
fn chosen(shape: &[usize], node: impl FnOnce(&mut Builder, ValueId) -> ValueId, expected: [(&str, &str); 3]) {
    let (mut builder, x) = Builder::new(shape);
    node(&mut builder, x);
    let got = [Isa::Amx, Isa::Avx512Vnni, Isa::AvxVnni].map(|isa| last(&builder.net, isa.and_below()));
    assert_eq!(got, expected);
    assert_eq!(last(&builder.net, &[Isa::Scalar]), ("definition", "reference__scalar"));
}

const AMX: &str = "gemm_u8s8u8_32x32c64__amx";
const AVX512: &str = "gemm_u8s8u8_14x32c4__avx512vnni";
const AVX: &str = "gemm_u8s8u8_6x16c4__avxvnni";

#[test]
fn long_sums_of_many_rows_run_on_tiles() {
    let windows = [("tiles", AMX), ("windows", AVX512), ("windows", AVX)];
    chosen(&[14, 14, 256], |b, x| b.conv(x, 256, window(3, 1), 1, None), windows);
    chosen(&[56, 56, 64], |b, x| b.conv(x, 128, window(3, 2), 1, None), windows);
    let in_place = [("tiles", AMX), ("rows in place", AVX512), ("rows in place", AVX)];
    chosen(&[28, 28, 128], |b, x| b.conv(x, 256, window(1, 1), 1, None), in_place);
    chosen(&[16, 256], |b, x| b.gemm(x, 96), in_place);
    let grouped = [("tiles", AMX), ("grouped", AVX512), ("grouped", AVX)];
    chosen(&[28, 28, 256], |b, x| b.conv(x, 256, window(3, 1), 4, None), grouped);
}

#[test]
fn what_tiles_are_not_worth_runs_on_vectors() {
    let first = [("first layer", AVX512), ("first layer", AVX512), ("first layer", AVX)];
    chosen(&[224, 224, 3], |b, x| b.conv(x, 64, window(7, 2), 1, None), first);
    let short = [("rows in place", AVX512), ("rows in place", AVX512), ("rows in place", AVX)];
    chosen(&[112, 112, 16], |b, x| b.conv(x, 96, window(1, 1), 1, None), short);
    chosen(&[2048], |b, x| b.gemm(x, 1000), [("one row", AVX512), ("one row", AVX512), ("one row", AVX)]);
    let narrow = [("grouped", AVX512), ("grouped", AVX512), ("grouped", AVX)];
    chosen(&[28, 28, 64], |b, x| b.conv(x, 64, window(3, 1), 16, None), narrow);
    let depthwise = |isa: &str| ["depthwise_u8s8u8__avx512vnni", "depthwise_u8s8u8__avxvnni"].into_iter().find(|n| n.ends_with(isa));
    let [on512, on256] = ["__avx512vnni", "__avxvnni"].map(|isa| depthwise(isa).expect("listed"));
    let expected = [("depthwise", on512), ("depthwise", on512), ("depthwise", on256)];
    chosen(&[56, 56, 144], |b, x| b.conv(x, 144, window(3, 1), 144, None), expected);
    let expected = [("mean of pixels", "mean_u8u8__avx512vnni"); 2];
    chosen(&[7, 7, 512], |b, x| b.mean(x), [expected[0], expected[1], ("mean of pixels", "mean_u8u8__avxvnni")]);
}

#[test]
fn candidates_are_the_choice_and_what_else_could_run() {
    let (mut b, x) = Builder::new(&[14, 14, 64]);
    b.conv(x, 64, window(3, 1), 1, None);
    let plan = Plan::new(&b.net.graph, 1, usize::MAX).expect("fits");
    let query = Query::new(&b.net.graph, &plan, &b.net.graph.nodes[1], 1);
    let names: Vec<_> = candidates(&query, &Isa::ALL).iter().map(|choice| choice.kernel.name).collect();
    assert_eq!(names, [AMX, AVX512, AVX, "gemm_u8s8u8_6x16c4__avx2", "reference__scalar"]);
}

#[test]
fn explains_for_a_machine_that_is_not_there() {
    let model = everything();
    let plan = Plan::new(model.graph(), 1, usize::MAX).expect("fits");
    let explained = explain::explain(&model, (&1.into(), usize::MAX), (Isa::Amx.and_below(), 1, None), &Peaks::nominal()).expect("fits");
    assert_eq!(explained.iter().map(|e| e.node).collect::<Vec<_>>(), plan.steps);
    assert!(explained.iter().any(|e| e.kernel == AMX && e.isa == Isa::Amx && e.others.contains(&AVX512)));
    assert!(explained.iter().all(|e| e.bytes > 0 && !e.tuned && !e.reason.is_empty() && !e.predicted.is_zero()));
    let macs: u64 = explained.iter().filter(|e| e.op == "QGemm").map(|e| e.macs).sum();
    assert_eq!(macs, 16 * 10);
}

#[test]
fn a_session_runs_what_it_explains() {
    let (model, data) = (everything(), ramp(16 * 16 * 3));
    let mut session = Session::new(&model, SessionOptions::default()).expect("starts");
    let inputs = [("x", TensorView::from_slice(&[1, 16, 16, 3], &data).expect("sized"))];
    let profile = session.profile(&inputs, 3).expect("runs");
    let ran: Vec<_> = profile.nodes().into_iter().map(|n| (n.node, n.kernel, n.macs, n.bytes, n.samples)).collect();
    let explained = session.explain(1).expect("fits");
    assert_eq!(ran, explained.iter().map(|e| (e.node, e.kernel.to_owned(), e.macs, e.bytes, 3)).collect::<Vec<_>>());
    assert!(profile.total_ns() > 0.0);
}

#[test]
fn tuning_changes_kernels_and_no_result() {
    let (model, data) = (everything(), ramp(16 * 16 * 3));
    let inputs = [("x", TensorView::from_slice(&[1, 16, 16, 3], &data).expect("sized"))];
    let mut session = Session::new(&model, SessionOptions::default()).expect("starts");
    let before = session.infer(&inputs).expect("runs").to_owned();
    let mut most = 0.0;
    let tuning = session.tune(&inputs, Duration::from_millis(50), &mut |part| most = part).expect("kernels agree");
    assert!((0.0..=1.0).contains(&most));
    assert_eq!(session.infer(&inputs).expect("runs").to_owned(), before);
    for change in tuning.changes() {
        assert!(change.from != change.to && change.after_ns < change.before_ns, "{change:?}");
    }

    // What the side file says is what another session runs.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("test.tune.json");
    tuning.write(&path).expect("writes");
    assert_eq!(Tuning::read(&path, model.name(), model.graph().nodes.len()).expect("reads"), tuning);
    let options = SessionOptions { tuning: Some(path.clone()), ..SessionOptions::default() };
    let mut other = Session::new(&model, options.clone()).expect("starts");
    for explained in other.explain(1).expect("fits") {
        assert_eq!(tuning.kernel(explained.node), explained.tuned.then_some(explained.kernel));
    }
    assert_eq!(other.infer(&inputs).expect("runs").to_owned(), before);

    // A kernel of a machine that has more is passed over.
    let change = tune::Change {
        node: 1,
        name: "conv".to_owned(),
        from: AVX512.to_owned(),
        to: "gemm_of_next_year".to_owned(),
        before_ns: 2,
        after_ns: 1,
    };
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).expect("there")).expect("JSON");
    json["changes"] = serde_json::to_value([change]).expect("JSON");
    std::fs::write(&path, json.to_string()).expect("writes");
    let mut foreign = Session::new(&model, options).expect("starts");
    assert!(foreign.explain(1).expect("fits").iter().all(|e| !e.tuned));
    assert_eq!(foreign.infer(&inputs).expect("runs").to_owned(), before);
}

#[test]
fn instruction_sets_that_are_not_there_are_errors() {
    assert!(matches!("sse9".parse::<Isa>(), Err(Error::UnknownIsa { value, known }) if value == "sse9" && known.contains("avx512vnni")));
    let model = everything();
    for isa in Isa::ALL {
        match Session::new(&model, SessionOptions { isa: Some(isa), ..SessionOptions::default() }) {
            Ok(session) => assert!(session.isa() == isa.name() && Isa::available().contains(&isa)),
            Err(Error::UnavailableIsa { value, .. }) => assert!(value == isa.name() && !Isa::available().contains(&isa)),
            Err(other) => panic!("{isa}: {other}"),
        }
    }
}
