//! A value of the file together with the place where it stood.

use std::{fmt, marker::PhantomData, ops::Range};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use toml::Spanned;

use super::{
    file::{Server, UnknownHost},
    units::Count,
};

/// What was written at a key, if anything was.
#[derive(Debug)]
pub(super) struct Written<T>(Option<Spanned<T>>);

/// A list whose items know their places.
#[derive(Debug, serde::Deserialize)]
#[serde(transparent)]
pub(super) struct List<T>(pub(super) Vec<Spanned<T>>);

/// A table of keys. By itself serde takes a list for a struct, too, and its items for the fields in their order.
#[derive(Debug, Default)]
pub(super) struct Section<T>(pub(super) T);

impl<T> Written<T> {
    /// The value and its place, or nothing.
    pub(super) fn given(self) -> Option<Spanned<T>> {
        self.0
    }

    /// The place of the value.
    pub(super) fn span(&self) -> Option<Range<usize>> {
        self.0.as_ref().map(Spanned::span)
    }

    /// The value in the terms of the settings, or nothing.
    pub(super) fn into_value<D>(self) -> Option<D>
    where
        T: Into<D>,
    {
        self.0.map(|value| value.into_inner().into())
    }

    /// The value in the terms of the settings, or `default`.
    pub(super) fn or<D>(self, default: D) -> D
    where
        T: Into<D>,
    {
        self.0.map_or(default, |value| value.into_inner().into())
    }
}

impl<T> Written<List<T>> {
    /// Whether no item was written.
    pub(super) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|list| list.get_ref().0.is_empty())
    }
}

impl<T> Default for Written<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(|value| Self(Some(value)))
    }
}

impl<T: JsonSchema> JsonSchema for Written<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for List<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "List".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<T>::json_schema(generator)
    }
}

struct SectionVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for SectionVisitor<T> {
    type Value = Section<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of keys")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Section<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Section)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Section<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SectionVisitor(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Section<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// `{ redirect = "…" }`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RedirectTo {
    redirect: Option<Spanned<String>>,
}

struct UnknownHostVisitor;

impl<'de> Visitor<'de> for UnknownHostVisitor {
    type Value = UnknownHost;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#""not_found", "homepage" or { redirect = "https://…" }"#)
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<UnknownHost, E> {
        match word {
            "not_found" => Ok(UnknownHost::NotFound),
            "homepage" => Ok(UnknownHost::Homepage),
            _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UnknownHost, A::Error> {
        RedirectTo::deserialize(MapAccessDeserializer::new(map)).map(|to| UnknownHost::Redirect(to.redirect))
    }
}

impl<'de> Deserialize<'de> for UnknownHost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnknownHostVisitor)
    }
}

/// `{ url = "…", weight = 2 }`; a hundredth of the requests is the smallest share that is worth a server.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct WeightedServer {
    url: String,
    weight: Count<1, 100>,
}

struct ServerVisitor;

impl<'de> Visitor<'de> for ServerVisitor {
    type Value = Server;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#""http://host:port" or { url = "http://host:port", weight = 2 }"#)
    }

    fn visit_str<E: de::Error>(self, url: &str) -> Result<Server, E> {
        Ok(Server { url: url.to_owned(), weight: 1 })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Server, A::Error> {
        let WeightedServer { url, weight } = WeightedServer::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Server { url, weight: usize::from(weight) })
    }
}

impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ServerVisitor)
    }
}

impl JsonSchema for Server {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Server".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [
            { "type": "string", "format": "uri" },
            {
                "type": "object",
                "properties": {
                    "url": { "type": "string", "format": "uri" },
                    "weight": Count::<1, 100>::json_schema(generator)
                },
                "required": ["url", "weight"],
                "additionalProperties": false
            }
        ] })
    }
}

impl JsonSchema for UnknownHost {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "UnknownHost".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "oneOf": [
            { "type": "string", "enum": ["not_found", "homepage"] },
            {
                "type": "object",
                "properties": { "redirect": { "type": "string", "format": "uri" } },
                "required": ["redirect"],
                "additionalProperties": false
            }
        ] })
    }
}
