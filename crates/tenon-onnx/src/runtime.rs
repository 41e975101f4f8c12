//! ONNX Runtime, for the models that are not evaluated in Rust.
//!
//! Its library is looked for when it is first needed, never linked and never downloaded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::SessionInputValue;
use ort::value::{DynValue, Outlet, TensorElementType, TensorRef, ValueType};
use parking_lot::Mutex;

use crate::error::{OnnxError, Result, bad_input};
use crate::model::{decode, metadata};
use crate::tensor::{DType, Dim, Tensor, TensorData, TensorInfo};

/// ONNX Runtime allows one environment a process and cannot be unloaded, so the first library found stays: this is
/// the library's global state, not ours.
static LOADED: Mutex<Option<Environment>> = Mutex::new(None);

/// The loaded library.
#[derive(Clone)]
pub struct Runtime {
    environment: Environment,
}

impl Runtime {
    /// Looks for the library at `explicit` (and only there, if given), then at the environment variable
    /// `ORT_DYLIB_PATH`, in the folder `library_dir`, and in the `onnxruntime` package of `python3`. Once a library is
    /// loaded, the process keeps it.
    ///
    /// # Errors
    /// `RuntimeMissing` with the places that were tried; `Runtime` when a library was found that can not be used.
    pub fn find(explicit: Option<&Path>, library_dir: Option<&Path>) -> Result<Self> {
        let mut loaded = LOADED.lock();
        if let Some(environment) = &*loaded {
            return Ok(Self { environment: environment.clone() });
        }
        let environment = load(&locate(explicit, library_dir)?)?;
        *loaded = Some(environment.clone());
        Ok(Self { environment })
    }

    /// Prepares a model.
    ///
    /// # Errors
    /// `Runtime` in ONNX Runtime's words when it refuses the model; `Unsupported` for inputs or outputs that are no
    /// tensors of the types in [`DType`]; `TooLarge`, `Malformed` and `Invalid` for what is no model.
    pub fn load(&self, bytes: &[u8]) -> Result<RuntimeSession> {
        let (model, _) = decode(bytes)?;
        let failed = |message: String| OnnxError::Runtime { action: "load the model", message };
        let builder = ort::session::Session::builder(&self.environment).map_err(|error| failed(error.to_string()))?;
        let builder = builder.with_intra_threads(1).map_err(|error| failed(error.to_string()))?;
        let mut builder = builder.with_log_level(LogLevel::Error).map_err(|error| failed(error.to_string()))?;
        let session = builder.commit_from_memory(bytes).map_err(|error| failed(error.to_string()))?;
        let inputs = session.inputs().iter().map(describe).collect::<Result<_>>()?;
        let outputs = session.outputs().iter().map(describe).collect::<Result<_>>()?;
        Ok(RuntimeSession { inputs, outputs, metadata: metadata(&model), session: Mutex::new(session) })
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").finish_non_exhaustive()
    }
}

fn load(library: &Path) -> Result<Environment> {
    let failed = |message: String| OnnxError::Runtime {
        action: "load its library",
        message: format!("{message}; version 1.{} or newer is needed", ort::MINOR_VERSION),
    };
    let builder = ort::init_from(library).map_err(|error| failed(error.to_string()))?;
    let environment = builder.with_name("tenon").with_telemetry(false).build();
    environment.map_err(|error| failed(error.to_string()))
}

fn locate(explicit: Option<&Path>, library_dir: Option<&Path>) -> Result<PathBuf> {
    let mut looked_at = Vec::new();
    if let Some(path) = explicit {
        return library_at(path)
            .ok_or_else(|| OnnxError::RuntimeMissing { looked_at: vec![path.display().to_string()] });
    }
    let variable = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
    looked_at.push(variable.as_ref().map_or("ORT_DYLIB_PATH (not set)".to_owned(), |path| path.display().to_string()));
    looked_at.extend(library_dir.map(|dir| dir.display().to_string()));
    let found = [variable.as_deref(), library_dir].into_iter().flatten().find_map(library_at);
    if let Some(library) = found {
        return Ok(library);
    }
    looked_at.push("python3 -c 'import onnxruntime'".to_owned());
    python_package().and_then(|dir| library_at(&dir)).ok_or(OnnxError::RuntimeMissing { looked_at })
}

/// The library at a path: the file itself, or the newest in a folder.
fn library_at(path: &Path) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path.to_owned());
    }
    let is_library = |file: &PathBuf| {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let stem = format!("{}onnxruntime.", std::env::consts::DLL_PREFIX);
        name.starts_with(&stem) && name.contains(std::env::consts::DLL_SUFFIX.trim_start_matches('.'))
    };
    let files = std::fs::read_dir(path).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    files.filter(is_library).filter(|file| file.is_file()).max()
}

/// Where Python keeps the library of its `onnxruntime` package, without importing it.
fn python_package() -> Option<PathBuf> {
    let script = "import importlib.util as u; s = u.find_spec('onnxruntime'); print(s.submodule_search_locations[0])";
    let answer = Command::new("python3").args(["-c", script]).stdin(Stdio::null()).output().ok()?;
    let folder = String::from_utf8(answer.stdout).ok()?;
    answer.status.success().then(|| Path::new(folder.trim()).join("capi"))
}

/// A model held by ONNX Runtime. Requests take turns: its sessions are not for concurrent use.
pub struct RuntimeSession {
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    metadata: BTreeMap<String, String>,
    session: Mutex<ort::session::Session>,
}

impl RuntimeSession {
    /// What must be passed to [`Self::run`].
    pub fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    /// What [`Self::run`] returns, in this order.
    pub fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    /// The free entries of the file (`metadata_props`).
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Evaluates the model. Tensors are matched to inputs by name.
    ///
    /// # Errors
    /// `Input` when a tensor is missing, unknown or of the wrong type or shape; `Runtime` when the model itself fails.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let failed = |error: ort::Error| OnnxError::Runtime { action: "run the model", message: error.to_string() };
        if let Some(stranger) = inputs.iter().find(|tensor| self.inputs.iter().all(|info| info.name != tensor.name)) {
            return Err(bad_input(&stranger.name, "the model has no such input"));
        }
        let mut values = Vec::with_capacity(self.inputs.len());
        for info in &self.inputs {
            let tensor = inputs.iter().find(|tensor| tensor.name == info.name);
            let tensor = tensor.ok_or_else(|| bad_input(&info.name, "the model needs it, and it was not given"))?;
            info.check(tensor)?;
            values.push((info.name.as_str(), view(tensor).map_err(failed)?));
        }
        let mut session = self.session.lock();
        let results = session.run(values).map_err(failed)?;
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for info in &self.outputs {
            let value =
                results.get(&info.name).ok_or_else(|| bad_input(&info.name, "the model gave no such output"))?;
            outputs.push(extract(value, info).map_err(failed)?);
        }
        Ok(outputs)
    }
}

impl std::fmt::Debug for RuntimeSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuntimeSession").field("inputs", &self.inputs).finish_non_exhaustive()
    }
}

fn describe(outlet: &Outlet) -> Result<TensorInfo> {
    let place = format!("value `{}`", outlet.name());
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return Err(OnnxError::Unsupported {
            what: "value that is not a tensor".to_owned(),
            place,
            hint: "export a classifier with `zipmap=False`, so that it returns a tensor of probabilities".to_owned(),
        });
    };
    let dtype = match ty {
        TensorElementType::Float32 => DType::F32,
        TensorElementType::Float64 => DType::F64,
        TensorElementType::Int64 => DType::I64,
        TensorElementType::Int32 => DType::I32,
        TensorElementType::Bool => DType::Bool,
        TensorElementType::String => DType::String,
        other => {
            return Err(OnnxError::Unsupported {
                what: format!("element type {other}"),
                place,
                hint: "cast it inside the model to float, double, int32, int64, bool or string".to_owned(),
            });
        }
    };
    let dim = |&extent: &i64| usize::try_from(extent).map_or(Dim::Dynamic(None), Dim::Fixed);
    Ok(TensorInfo { name: outlet.name().to_owned(), dtype, shape: shape.iter().map(dim).collect() })
}

/// The tensor as ONNX Runtime sees it, without a copy except for text.
fn view(tensor: &Tensor) -> ort::Result<SessionInputValue<'_>> {
    let shape = tensor.shape.clone();
    Ok(match &tensor.data {
        TensorData::F32(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        TensorData::F64(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        TensorData::I64(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        TensorData::I32(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        TensorData::Bool(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        TensorData::String(values) => ort::value::Tensor::from_string_array((shape, values.as_slice()))?.into(),
    })
}

fn extract(value: &DynValue, info: &TensorInfo) -> ort::Result<Tensor> {
    macro_rules! numbers {
        ($variant:ident, $type:ty) => {{
            let (shape, values) = value.try_extract_tensor::<$type>()?;
            (shape, TensorData::$variant(values.to_vec()))
        }};
    }
    let (shape, data) = match info.dtype {
        DType::F32 => numbers!(F32, f32),
        DType::F64 => numbers!(F64, f64),
        DType::I64 => numbers!(I64, i64),
        DType::I32 => numbers!(I32, i32),
        DType::Bool => numbers!(Bool, bool),
        DType::String => {
            let (shape, values) = value.try_extract_strings()?;
            (shape, TensorData::String(values))
        }
    };
    let shape = shape.iter().map(|&extent| usize::try_from(extent).unwrap_or(0)).collect();
    Ok(Tensor { name: info.name.clone(), shape, data })
}
