//! Typed access to a node's attributes; one that nobody asked for is reported.

use std::cell::RefCell;

use super::proto::{AttributeProto, NodeProto, TensorProto, attribute_proto::AttributeType};

/// A node's attributes.
pub(super) struct Attrs<'a> {
    node: &'a NodeProto,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Attrs<'a> {
    pub(super) fn new(node: &'a NodeProto) -> Self {
        Self { node, asked: RefCell::new(Vec::new()) }
    }

    fn find(&self, name: &'static str, kind: AttributeType) -> Result<Option<&'a AttributeProto>, String> {
        self.asked.borrow_mut().push(name);
        let Some(attribute) = self.node.attribute.iter().find(|a| a.name == name) else { return Ok(None) };
        // Old exporters leave the type out.
        if attribute.r#type != kind as i32 && attribute.r#type != 0 {
            return Err(format!("attribute '{name}' should be {kind:?}"));
        }
        Ok(Some(attribute))
    }

    pub(super) fn int(&self, name: &'static str) -> Result<Option<i64>, String> {
        Ok(self.find(name, AttributeType::Int)?.map(|a| a.i))
    }

    pub(super) fn flag(&self, name: &'static str, default: bool) -> Result<bool, String> {
        Ok(self.int(name)?.map_or(default, |i| i != 0))
    }

    pub(super) fn float(&self, name: &'static str, default: f32) -> Result<f32, String> {
        Ok(self.find(name, AttributeType::Float)?.map_or(default, |a| a.f))
    }

    pub(super) fn maybe_float(&self, name: &'static str) -> Result<Option<f32>, String> {
        Ok(self.find(name, AttributeType::Float)?.map(|a| a.f))
    }

    pub(super) fn ints(&self, name: &'static str) -> Result<Option<Vec<i64>>, String> {
        Ok(self.find(name, AttributeType::Ints)?.map(|a| a.ints.clone()))
    }

    pub(super) fn floats(&self, name: &'static str) -> Result<Option<Vec<f32>>, String> {
        Ok(self.find(name, AttributeType::Floats)?.map(|a| a.floats.clone()))
    }

    pub(super) fn string(&self, name: &'static str, default: &str) -> Result<String, String> {
        match self.find(name, AttributeType::String)? {
            Some(a) => String::from_utf8(a.s.clone()).map_err(|_| format!("attribute '{name}' is not UTF-8")),
            None => Ok(default.to_owned()),
        }
    }

    pub(super) fn strings(&self, name: &'static str) -> Result<Option<Vec<String>>, String> {
        let Some(a) = self.find(name, AttributeType::Strings)? else { return Ok(None) };
        let texts = a.strings.iter().map(|s| String::from_utf8(s.clone()).map_err(|_| format!("attribute '{name}' is not UTF-8")));
        texts.collect::<Result<_, _>>().map(Some)
    }

    pub(super) fn tensor(&self, name: &'static str) -> Result<Option<&'a TensorProto>, String> {
        Ok(self.find(name, AttributeType::Tensor)?.and_then(|a| a.t.as_ref()))
    }

    /// Marks an attribute as known and without influence on inference.
    pub(super) fn ignore(&self, name: &'static str) {
        self.asked.borrow_mut().push(name);
    }

    /// An attribute that nobody asked for.
    pub(super) fn unknown(&self) -> Option<&'a str> {
        let asked = self.asked.borrow();
        self.node.attribute.iter().map(|a| a.name.as_str()).find(|n| !asked.contains(n))
    }
}
