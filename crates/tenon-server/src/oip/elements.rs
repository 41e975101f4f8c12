//! Elements of a tensor from JSON, nested as deep as the caller likes, without a tree in between.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

/// What a tensor holds, read from a JSON value.
pub(crate) trait Element: Sized {
    /// For those who sent something else.
    const WANTED: &'static str;
    fn real(_: f64) -> Option<Self> {
        None
    }
    fn whole(_: i128) -> Option<Self> {
        None
    }
    fn truth(_: bool) -> Option<Self> {
        None
    }
    fn text(_: &str) -> Option<Self> {
        None
    }
    /// JSON has no word for a number that is none.
    fn null() -> Option<Self> {
        None
    }
}

macro_rules! reals {
    ($($real:ty),+) => {$(
        impl Element for $real {
            const WANTED: &'static str = "a number, or null for one that is missing";
            fn real(value: f64) -> Option<Self> {
                Some(value as $real).filter(|value| value.is_finite())
            }
            fn whole(value: i128) -> Option<Self> {
                Some(value as $real)
            }
            fn null() -> Option<Self> {
                Some(<$real>::NAN)
            }
        }
    )+};
}
reals!(f32, f64);

macro_rules! wholes {
    ($($whole:ty: $wanted:literal),+) => {$(
        impl Element for $whole {
            const WANTED: &'static str = $wanted;
            fn whole(value: i128) -> Option<Self> {
                Self::try_from(value).ok()
            }
        }
    )+};
}
wholes!(i32: "a whole number of 32 bits", i64: "a whole number of 64 bits");

impl Element for bool {
    const WANTED: &'static str = "true or false";
    fn truth(value: bool) -> Option<Self> {
        Some(value)
    }
}

impl Element for String {
    const WANTED: &'static str = "a string";
    fn text(value: &str) -> Option<Self> {
        Some(value.to_owned())
    }
}

/// The elements of `json` in order; more than `at_most` are refused before they take room.
pub(crate) fn read<T: Element>(json: &str, at_most: usize) -> Result<Vec<T>, serde_json::Error> {
    let mut elements = Vec::new();
    let mut reader = serde_json::Deserializer::from_str(json);
    Into { elements: &mut elements, at_most }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(elements)
}

struct Into<'a, T> {
    elements: &'a mut Vec<T>,
    at_most: usize,
}

impl<T: Element> Into<'_, T> {
    fn push<E: Error>(self, element: Option<T>) -> Result<(), E> {
        if self.elements.len() == self.at_most {
            return Err(E::custom(format!("there are more than the {} elements of the shape", self.at_most)));
        }
        self.elements.push(element.ok_or_else(|| E::custom(format!("an element is not {}", T::WANTED)))?);
        Ok(())
    }
}

impl<'de, T: Element> DeserializeSeed<'de> for Into<'_, T> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, T: Element> Visitor<'de> for Into<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, or an array of such", T::WANTED)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        while array.next_element_seed(Into { elements: &mut *self.elements, at_most: self.at_most })?.is_some() {}
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.push(T::real(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.push(T::whole(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.push(T::whole(value.into()))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.push(T::truth(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.push(T::text(value))
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.push(T::null())
    }
}
