//! Typed access to the attributes of a node.

use crate::error::{Result, invalid};
use crate::proto::{AttributeProto, NodeProto, TensorProto};

/// A node's attributes, with a name for the node in messages.
pub(crate) struct Attributes<'a> {
    node: &'a NodeProto,
    pub(crate) place: String,
}

impl<'a> Attributes<'a> {
    pub(crate) fn of(node: &'a NodeProto) -> Self {
        let label = [&node.name, node.output.first().unwrap_or(&node.name)].into_iter().find(|name| !name.is_empty());
        Self { node, place: format!("node `{}` ({})", label.map_or("unnamed", String::as_str), node.op_type) }
    }

    fn find(&self, name: &str) -> Option<&'a AttributeProto> {
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    pub(crate) fn ints(&self, name: &str) -> &'a [i64] {
        self.find(name).map_or(&[], |attribute| &attribute.ints)
    }

    pub(crate) fn floats(&self, name: &str) -> &'a [f32] {
        self.find(name).map_or(&[], |attribute| &attribute.floats)
    }

    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.find(name).and_then(|attribute| attribute.i)
    }

    pub(crate) fn float(&self, name: &str) -> Option<f32> {
        self.find(name).and_then(|attribute| attribute.f)
    }

    pub(crate) fn tensor(&self, name: &str) -> Option<&'a TensorProto> {
        self.find(name).and_then(|attribute| attribute.t.as_ref())
    }

    pub(crate) fn string(&self, name: &str) -> Result<Option<&'a str>> {
        let bytes = self.find(name).and_then(|attribute| attribute.s.as_deref());
        bytes.map(|bytes| self.utf8(name, bytes)).transpose()
    }

    pub(crate) fn strings(&self, name: &str) -> Result<Vec<&'a str>> {
        let Some(attribute) = self.find(name) else { return Ok(Vec::new()) };
        attribute.strings.iter().map(|bytes| self.utf8(name, bytes)).collect()
    }

    fn utf8(&self, name: &str, bytes: &'a [u8]) -> Result<&'a str> {
        std::str::from_utf8(bytes).map_err(|_| invalid(&self.place, format!("attribute `{name}` is not UTF-8")))
    }
}
