//! What the documents show must be understood by the program that they describe.

use std::path::Path;

use tenon_core::spec::{SpecFile, SpecSet};

/// The blocks of a kind in a document of `docs/`.
fn blocks(document: &str, kind: &str) -> Vec<String> {
    let path = Path::new("../../docs").join(document);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let opening = format!("```{kind}\n");
    let opened = text.split(&opening).skip(1);
    opened.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn declarations_of_datasets_are_understood() {
    let shown = blocks("datasets.md", "toml");
    assert!(!shown.is_empty());
    for text in shown {
        let files = [
            ("company.toml", "name = \"acme\"\n".to_owned()),
            ("pods/first/pod.toml", "mission = \"m\"\n[members.ana]\nrole = \"lead\"\n".to_owned()),
            ("pods/first/datasets/payments.toml", text),
        ];
        let files = files.map(|(path, text)| SpecFile { path: path.to_owned(), text });
        let read = SpecSet::read(&files);
        assert!(read.is_ok(), "{:?}", read.err());
    }
}
