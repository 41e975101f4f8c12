//! Exact TreeSHAP against the `shap` package and LightGBM's `pred_contrib`, and prediction against ONNX Runtime: the same
//! trees (200 of depth 6, trained by LightGBM), the same rows, one thread each, processor time, turn by turn.

use std::path::Path;

use cpu_time::ProcessTime;
use serde_json::Value;
use tenon_benches::{Fault, Figure, Peer, Report, fault, median, work_folder};
use tenon_onnx::{ModelMeta, Node, Tree, TreeEnsemble, TreeShap};

const ROUNDS: usize = 5;
/// Explanations are sums of 200 leaves each; ours are computed from the leaves as ONNX keeps them, in float32.
const EXPLAINED_ALIKE: f64 = 1e-5;
const PREDICTED_ALIKE: f64 = 1e-5;

fn main() -> Result<(), Fault> {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global()?;
    let folder = work_folder()?;
    let mut report = Report::of("treeshap");
    let mut peer = Peer::start("treeshap.py", folder.path(), 1)?;
    let sizes = peer.ask("model")?;
    let size = |name: &str| sizes[name].as_u64().map(|size| size as usize).ok_or_else(|| fault("sizes are missing"));
    let (width, explained) = (size("features")?, size("explained")?);
    let rows = f32s(&folder.path().join("rows.f32"))?;
    let few = &rows[..explained * width];
    let ensemble = ensemble(&folder.path().join("trees.json"), width)?;
    let shap = TreeShap::new(&ensemble, 0)?;

    let ours = shap.explain(few, width)?;
    for name in ["lightgbm", "shap"] {
        let told = peer.ask(name)?;
        let values = f64s(&folder.path().join(format!("{name}.f64")))?;
        let expected = told["expected"].as_f64().unwrap_or(f64::NAN);
        let apart = difference(&ours.values, &values)?.max((ours.expected - expected).abs());
        alike(name, apart, EXPLAINED_ALIKE)?;
        report.add(Figure::cost(format!("largest difference from {name}"), apart, "of margin"));
    }
    let (mut own, mut lightgbm, mut package) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        own.push(seconds(|| shap.explain(few, width))?);
        lightgbm.push(peer.time("lightgbm")?);
        package.push(peer.time("shap")?);
    }
    let speed = |samples: &[f64]| explained as f64 / median(samples);
    let figure = || Figure::speed("exact TreeSHAP, 200 trees of depth 6", speed(&own), "rows/s");
    report.add(figure().against("LightGBM", speed(&lightgbm)));
    report.add(figure().against("shap", speed(&package)));

    std::fs::write(folder.path().join("model.onnx"), ensemble.to_onnx(&ModelMeta::default()))?;
    let ours = ensemble.predict(&rows, width)?;
    peer.ask("onnxruntime")?;
    let theirs = f32s(&folder.path().join("onnxruntime.f32"))?;
    let doubled = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
    alike("onnxruntime", difference(&doubled(&ours), &doubled(&theirs))?, PREDICTED_ALIKE)?;
    let (mut own, mut onnxruntime) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        own.push(seconds(|| ensemble.predict(&rows, width))?);
        onnxruntime.push(peer.time("onnxruntime")?);
    }
    let speed = |samples: &[f64]| (rows.len() / width) as f64 / median(samples);
    let figure = Figure::speed("predict in batches, the same trees", speed(&own), "rows/s");
    report.add(figure.against("ONNX Runtime", speed(&onnxruntime)));
    report.tell()
}

fn seconds<T>(work: impl FnOnce() -> tenon_onnx::Result<T>) -> Result<f64, Fault> {
    let start = ProcessTime::now();
    std::hint::black_box(work()?);
    Ok(start.elapsed().as_secs_f64())
}

/// A comparison of speed counts only between equal answers.
fn alike(peer: &str, apart: f64, allowed: f64) -> Result<(), Fault> {
    if apart <= allowed { Ok(()) } else { Err(fault(format!("{peer} answers otherwise: {apart:e} apart"))) }
}

fn difference(ours: &[f64], theirs: &[f64]) -> Result<f64, Fault> {
    if ours.len() != theirs.len() {
        return Err(fault(format!("{} numbers against {}", ours.len(), theirs.len())));
    }
    // A number that is none would be lost in a maximum.
    let apart = ours.iter().zip(theirs).map(|(ours, theirs)| (ours - theirs).abs());
    Ok(apart.fold(0.0, |worst, apart| if apart.is_nan() || apart > worst { apart } else { worst }))
}

fn f32s(path: &Path) -> Result<Vec<f32>, Fault> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

fn f64s(path: &Path) -> Result<Vec<f64>, Fault> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
}

/// The trees that LightGBM dumped: `x <= threshold` goes left.
fn ensemble(dump: &Path, width: usize) -> Result<TreeEnsemble, Fault> {
    let trees: Vec<Value> = serde_json::from_slice(&std::fs::read(dump)?)?;
    let trees = trees.iter().map(|root| {
        let mut nodes = Vec::new();
        visit(root, &mut nodes).map(|_| Tree { nodes })
    });
    Ok(TreeEnsemble::binary_classifier(
        &trees.collect::<Option<Vec<_>>>().ok_or_else(|| fault("odd trees"))?,
        0.0,
        width,
    )?)
}

fn visit(node: &Value, nodes: &mut Vec<Node>) -> Option<u32> {
    let number = |key: &str| node[key].as_f64();
    let at = nodes.len();
    if let Some(value) = number("leaf_value") {
        nodes.push(Node::Leaf { value, cover: number("leaf_count")? });
        return Some(at as u32);
    }
    nodes.push(Node::Leaf { value: 0.0, cover: 0.0 });
    let (left, right) = (visit(&node["left_child"], nodes)?, visit(&node["right_child"], nodes)?);
    nodes[at] = Node::Split {
        feature: node["split_feature"].as_u64()? as u32,
        threshold: number("threshold")?.next_up(),
        missing_left: node["default_left"].as_bool()?,
        left,
        right,
        cover: number("internal_count")?,
    };
    Some(at as u32)
}
