#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tenon_onnx::TensorData;

use super::*;

#[track_caller]
fn refused(header: Option<&str>, body: &[u8], sentence: &str) {
    let problem = decode(header, body).unwrap_err();
    assert_eq!(problem.status.as_u16(), 400);
    assert!(problem.sentence.contains(sentence), "{}", problem.sentence);
}

fn input(rest: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"x",{rest}}}]}}"#)
}

#[track_caller]
fn reads(rest: &str, expected: TensorData) {
    let asked = decode(None, input(rest).as_bytes()).unwrap();
    assert_eq!(asked.request.inputs[0].data, expected);
}

#[test]
fn json_data_may_be_flat_or_nested() {
    let six = TensorData::F32(vec![1.0, 2.5, -3.0, 4.0, 5.0, 6.0]);
    reads(r#""shape":[2,3],"datatype":"FP32","data":[1,2.5,-3,4,5,6]"#, six.clone());
    reads(r#""shape":[2,3],"datatype":"FP32","data":[[1,2.5,-3],[4,5,6]]"#, six);
    reads(r#""shape":[1],"datatype":"INT64","data":[-9223372036854775808]"#, TensorData::I64(vec![i64::MIN]));
    reads(r#""shape":[2],"datatype":"BOOL","data":[true,false]"#, TensorData::Bool(vec![true, false]));
    reads(r#""shape":[2],"datatype":"BYTES","data":["a","ü\n"]"#, TensorData::String(vec!["a".into(), "ü\n".into()]));
    reads(r#""shape":[0,3],"datatype":"FP64","data":[]"#, TensorData::F64(vec![]));
    let asked = decode(None, input(r#""shape":[1],"datatype":"FP32","data":[null]"#).as_bytes()).unwrap();
    assert!(matches!(&asked.request.inputs[0].data, TensorData::F32(values) if values[0].is_nan()));
}

#[test]
fn each_fault_of_a_json_request_is_named() {
    refused(None, b"{", "not what the protocol asks for");
    refused(None, b"{}", "missing field `inputs`");
    for (rest, sentence) in [
        (r#""shape":[2],"datatype":"FP32","data":[1]"#, "has 1 elements, its shape 2"),
        (r#""shape":[1],"datatype":"FP32","data":[1,2]"#, "more than the 1 elements"),
        (r#""shape":[1],"datatype":"FP32","data":["a"]"#, "not a number"),
        (r#""shape":[1],"datatype":"FP32","data":[1e300]"#, "not a number"),
        (r#""shape":[1],"datatype":"INT32","data":[2147483648]"#, "not a whole number of 32 bits"),
        (r#""shape":[1],"datatype":"INT64","data":[1.5]"#, "not a whole number of 64 bits"),
        (r#""shape":[1],"datatype":"BOOL","data":[1]"#, "not true or false"),
        (r#""shape":[1],"datatype":"UINT8","data":[1]"#, "no model here takes"),
        (r#""shape":[1],"datatype":"FP99","data":[1]"#, "which is no datatype"),
        (r#""shape":[-1],"datatype":"FP32","data":[1]"#, "invalid value"),
        (r#""shape":[4294967296,4294967296],"datatype":"FP32","data":[1]"#, "an absurd shape"),
        (r#""shape":[1],"datatype":"FP32""#, "has no `data`"),
        (
            r#""shape":[1],"datatype":"FP32","data":[1],"parameters":{"binary_data_size":4}"#,
            "both `data` and binary data",
        ),
        (r#""shape":[1],"datatype":"FP32","parameters":{"shared_memory_region":"r"}"#, "shared memory"),
    ] {
        refused(None, input(rest).as_bytes(), sentence);
    }
    let deep = format!(r#""shape":[1],"datatype":"FP32","data":{}1{}"#, "[".repeat(500), "]".repeat(500));
    refused(None, input(&deep).as_bytes(), "recursion limit");
}

#[test]
fn each_fault_of_a_binary_request_is_named() {
    let json = input(r#""shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}"#);
    let whole = [json.as_bytes(), &[0; 4]].concat();
    let length = json.len().to_string();
    decode(Some(&length), &whole).unwrap();
    refused(Some("x"), &whole, "not a number of bytes");
    refused(Some("-1"), &whole, "not a number of bytes");
    refused(Some("+5"), &whole, "not a number of bytes");
    refused(Some("99999999999999999999999"), &whole, "not a number of bytes");
    refused(Some("18446744073709551615"), &whole, "and the body has");
    refused(Some(&length), &whole[..whole.len() - 1], "claims 4 bytes, and 3 are left");
    refused(Some(&length), &[&whole[..], &[0]].concat(), "1 bytes stand behind the last input");
    refused(None, json.as_bytes(), "claims 4 bytes, and 0 are left");
    for (rest, bytes, sentence) in [
        (
            r#""shape":[1],"datatype":"FP32","parameters":{"binary_data_size":18446744073709551615}"#,
            4,
            "claims 18446744073709551615 bytes",
        ),
        (r#""shape":[1],"datatype":"FP32","parameters":{"binary_data_size":-4}"#, 4, "not a number of bytes"),
        (r#""shape":[2],"datatype":"FP32","parameters":{"binary_data_size":4}"#, 4, "not the 2 elements"),
        (
            r#""shape":[4611686018427387904],"datatype":"FP32","parameters":{"binary_data_size":4}"#,
            4,
            "not the 4611686018427387904 elements",
        ),
        (r#""shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":3}"#, 3, "not the 1 elements"),
    ] {
        let json = input(rest);
        refused(Some(&json.len().to_string()), &[json.as_bytes(), &vec![0; bytes]].concat(), sentence);
    }
    let json = input(r#""shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":8}"#);
    let claims = [json.as_bytes(), &u32::MAX.to_le_bytes(), b"abcd"].concat();
    refused(Some(&json.len().to_string()), &claims, "not the 1 elements");
}

fn data() -> impl Strategy<Value = TensorData> {
    prop_oneof![
        prop::collection::vec(-1e6_f32..1e6, 0..9).prop_map(TensorData::F32),
        prop::collection::vec(any::<i64>(), 0..9).prop_map(TensorData::I64),
        prop::collection::vec(any::<i32>(), 0..9).prop_map(TensorData::I32),
        prop::collection::vec(-1e9_f64..1e9, 0..9).prop_map(TensorData::F64),
        prop::collection::vec(any::<bool>(), 0..9).prop_map(TensorData::Bool),
        prop::collection::vec(".{0,6}", 0..9).prop_map(TensorData::String),
    ]
}

fn answer(outputs: Vec<TensorData>) -> InferResponse {
    let tensor = |(at, data): (usize, TensorData)| Tensor { name: format!("t{at}"), shape: vec![data.len()], data };
    InferResponse { version: "m@2".parse().unwrap(), outputs: outputs.into_iter().enumerate().map(tensor).collect() }
}

proptest! {
    #[test]
    fn what_is_answered_reads_back_as_a_request(outputs in prop::collection::vec(data(), 1..4), binary in prop::collection::vec(any::<bool>(), 3)) {
        let response = answer(outputs);
        let binary_by_output = binary.iter().take(response.outputs.len()).map(|flag| Some(*flag)).collect();
        let asked = Asked { id: Some("7".into()), request: InferRequest::default(), binary: false, binary_by_output };
        let (length, bytes) = encode(&asked, &response).unwrap();
        let (json, behind) = bytes.split_at(length.unwrap_or(bytes.len()));
        let text = std::str::from_utf8(json).unwrap().replacen("\"outputs\"", "\"inputs\"", 1);
        let request = [text.as_bytes(), behind].concat();
        let length = length.map(|_| text.len().to_string());
        let read = decode(length.as_deref(), &request).unwrap();
        prop_assert_eq!(read.request.inputs, response.outputs);
        prop_assert_eq!(read.id.as_deref(), Some("7"));
    }

    #[test]
    fn no_bytes_break_it(header in prop::option::of("[0-9a-z+-]{0,4}"), body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(header.as_deref(), &body);
    }
}

#[test]
fn outputs_come_in_binary_when_all_or_one_are_asked_for_so() {
    let body = |rest: &str| format!(r#"{{"inputs":[],{rest}}}"#);
    let kinds = |rest: &str| {
        let asked = decode(None, body(rest).as_bytes()).unwrap();
        let (length, bytes) =
            encode(&asked, &answer(vec![TensorData::F32(vec![0.5]), TensorData::I64(vec![1])])).unwrap();
        let json = String::from_utf8(bytes[..length.unwrap_or(bytes.len())].to_vec()).unwrap();
        (json, bytes.len() - length.unwrap_or(bytes.len()))
    };
    let (json, behind) = kinds(r#""parameters":{"binary_data_output":true}"#);
    assert_eq!(behind, 12);
    insta::assert_snapshot!(json, @r#"{"model_name":"m","model_version":"2","outputs":[{"name":"t0","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}},{"name":"t1","datatype":"INT64","shape":[1],"parameters":{"binary_data_size":8}}]}"#);
    let (json, behind) = kinds(r#""outputs":[{"name":"t0"},{"name":"t1","parameters":{"binary_data":true}}]"#);
    assert_eq!(behind, 8);
    insta::assert_snapshot!(json, @r#"{"model_name":"m","model_version":"2","outputs":[{"name":"t0","datatype":"FP32","shape":[1],"data":[0.5]},{"name":"t1","datatype":"INT64","shape":[1],"parameters":{"binary_data_size":8}}]}"#);
}
