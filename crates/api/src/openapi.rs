use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::{ErrorBody, Method, ROUTES, Route};

/// The OpenAPI 3.1 document of the API.
pub fn document() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let error = generator.subschema_for::<ErrorBody>();
    let mut paths = Map::new();
    for route in ROUTES {
        let method = match route.method {
            Method::Get => "get",
            Method::Post => "post",
        };
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[method] = operation(route, &mut generator, &error);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "refloat",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Takes Kubernetes nodes out of service and brings them back.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A bearer token the cluster accepts; the cluster's own rules decide what it may do.",
                },
            },
        },
        "security": [{ "token": [] }],
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator, error: &schemars::Schema) -> Value {
    let mut parameters: Vec<_> = route
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    parameters.extend(route.query.iter().map(|(name, meaning)| {
        json!({ "name": name, "in": "query", "description": meaning, "schema": { "type": "string" } })
    }));
    let failure = |description: &str| json!({ "description": description, "content": { "application/json": { "schema": error } } });
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "x-changes": route.changes,
        "parameters": parameters,
        "responses": {
            (route.status.to_string()): {
                "description": "Done",
                "content": { (route.media): { "schema": (route.response)(generator) } },
            },
            "400": failure("The request is not understood"),
            "401": failure("No token, or one the cluster does not accept"),
            "403": failure("The cluster does not let this person do that"),
            "404": failure("No such cluster, node or operation"),
            "409": failure("Something else is in the way"),
            "413": failure("The body is too large"),
            "415": failure("The body is not application/json"),
            "503": failure("The cluster cannot be reached, or this replica does not lead"),
            "default": failure("Any other refusal or fault"),
        },
    });
    if let Some(request) = route.request {
        let body = json!({ "application/json": { "schema": request(generator) } });
        operation["requestBody"] = json!({ "required": true, "content": body });
    }
    operation
}
