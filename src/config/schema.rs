//! The JSON schema of the file, for editors and for `usher config schema`.

use schemars::generate::SchemaSettings;

use super::file::File;

/// The JSON schema (draft 2020-12) of the configuration file.
pub fn schema() -> serde_json::Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<File>().to_value()
}
