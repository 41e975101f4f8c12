//! The entries of a table, taken one by one: what is left at the end was not understood.

use tenon_core::spec::closest;

use crate::odcs::remark::Notes;
use crate::odcs::tree::{Key, Node, Place, Value};

/// The entries of one table.
pub(super) struct Fields<'n> {
    entries: &'n [(Key, Node)],
    taken: Vec<&'static str>,
    /// What the table is: `a column`.
    what: &'static str,
    pub(super) place: Place,
}

impl<'n> Fields<'n> {
    /// The entries of a node, where it is a table.
    pub(super) fn of(node: &'n Node, what: &'static str, notes: &mut Notes) -> Option<Self> {
        match &node.value {
            Value::Map(entries) => Some(Self { entries, taken: Vec::new(), what, place: node.place }),
            other => {
                notes.wrong(node.place, format!("{what} is a table of keys and values, and this is {}", other.kind()));
                None
            }
        }
    }

    /// An entry with its key's place; one that says nothing counts as none.
    pub(super) fn take(&mut self, name: &'static str) -> Option<(Place, &'n Node)> {
        self.taken.push(name);
        let (key, node) = self.entries.iter().find(|(key, _)| key.text == name)?;
        (node.value != Value::Null).then_some((key.place, node))
    }

    pub(super) fn text(&mut self, name: &'static str, notes: &mut Notes) -> Option<(Place, &'n str)> {
        let (place, node) = self.take(name)?;
        match &node.value {
            Value::Text(text) => Some((place, text)),
            other => self.other_kind(place, name, "a text", other, notes),
        }
    }

    pub(super) fn flag(&mut self, name: &'static str, notes: &mut Notes) -> Option<bool> {
        let (place, node) = self.take(name)?;
        match &node.value {
            Value::Bool(flag) => Some(*flag),
            other => self.other_kind(place, name, "true or false", other, notes),
        }
    }

    pub(super) fn number(&mut self, name: &'static str, notes: &mut Notes) -> Option<(Place, f64)> {
        let (place, node) = self.take(name)?;
        match &node.value {
            Value::Number(number) => Some((place, number.as_f64().unwrap_or(f64::MAX))),
            other => self.other_kind(place, name, "a number", other, notes),
        }
    }

    pub(super) fn list(&mut self, name: &'static str, notes: &mut Notes) -> &'n [Node] {
        let Some((place, node)) = self.take(name) else { return &[] };
        match &node.value {
            Value::List(nodes) => nodes,
            other => self.other_kind(place, name, "a list", other, notes).unwrap_or(&[]),
        }
    }

    fn other_kind<T>(&self, place: Place, name: &str, wanted: &str, is: &Value, notes: &mut Notes) -> Option<T> {
        notes.wrong(place, format!("`{name}` of {} is {wanted}, and this is {}", self.what, is.kind()));
        None
    }

    /// Tells what is left: what the standard knows and has no place here is lost, anything else is a mistake.
    pub(super) fn rest(self, known: &[&'static str], notes: &mut Notes) {
        for (key, node) in self.entries {
            let name = key.text.as_str();
            if self.taken.contains(&name) || node.value == Value::Null {
                continue;
            }
            if known.contains(&name) {
                notes.lost(key.place, format!("`{name}` of {} has no place in a dataset's declaration", self.what));
                continue;
            }
            let message = format!("ODCS knows no `{name}` of {}", self.what);
            let hint = match closest(name, self.taken.iter().chain(known).copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "take it out, or say it as a custom property".to_owned(),
            };
            notes.weaker(key.place, message, &hint);
        }
    }
}

/// One custom property.
pub(super) struct Own<'n> {
    pub(super) place: Place,
    pub(super) name: &'n str,
    pub(super) value: &'n Node,
}

/// The custom properties of a table.
pub(super) fn own<'n>(fields: &mut Fields<'n>, notes: &mut Notes) -> Vec<Own<'n>> {
    let mut found = Vec::new();
    for node in fields.list("customProperties", notes) {
        let Some(mut custom) = Fields::of(node, "a custom property", notes) else { continue };
        let (name, value) = (custom.text("property", notes), custom.take("value"));
        match (name, value) {
            (Some((place, name)), Some((_, value))) => found.push(Own { place, name, value }),
            (None, _) => notes.wrong(custom.place, "a custom property has a `property`, its name"),
            (_, None) => {}
        }
        custom.rest(&["id", "description"], notes);
    }
    found
}

/// Tells of a custom property that nothing reads; one that bears our name is a mistake.
pub(super) fn unread(custom: &Own<'_>, known: &[&str], notes: &mut Notes) {
    let Own { place, name, .. } = custom;
    if !name.starts_with("tenon") {
        return notes.lost(*place, format!("nothing reads the custom property `{name}`"));
    }
    let message = format!("there is no custom property `{name}` here");
    match closest(name, known.iter().copied()) {
        Some(near) => notes.wrong_with(*place, message, &format!("did you mean `{near}`?")),
        None => notes.wrong(*place, message),
    }
}

/// A text of a custom property.
pub(super) fn own_text(custom: &Own<'_>, notes: &mut Notes) -> Option<String> {
    match &custom.value.value {
        Value::Text(text) => Some(text.clone()),
        other => {
            notes.wrong(custom.place, format!("`{}` is a text, and this is {}", custom.name, other.kind()));
            None
        }
    }
}

/// A part of a declaration in a custom property or an implementation.
pub(super) fn part<T: serde::de::DeserializeOwned>(
    place: Place,
    name: &str,
    node: &Node,
    notes: &mut Notes,
) -> Option<T> {
    serde_json::from_value(node.value.to_json())
        .map_err(|error| notes.wrong(place, format!("`{name}` cannot be read: {error}")))
        .ok()
}
