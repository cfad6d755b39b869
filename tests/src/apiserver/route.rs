//! What a URL means.

/// A parsed path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// /healthz, /livez, /readyz
    Health,
    /// /version
    Version,
    /// /api
    CoreVersions,
    /// /apis
    Groups,
    /// /apis/GROUP
    Group(String),
    /// /api/v1, /apis/GROUP/VERSION
    Resources {
        /// API group, empty for core.
        group: String,
        /// Version.
        version: String,
    },
    /// /openapi/v2
    OpenApiV2,
    /// /openapi/v3
    OpenApi,
    /// /openapi/v3/api/v1, /openapi/v3/apis/GROUP/VERSION
    OpenApiDocument {
        /// API group, empty for core.
        group: String,
        /// Version.
        version: String,
    },
    /// Objects.
    Resource(Resource),
}

/// A collection, an object or a subresource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resource {
    /// API group, empty for core.
    pub group: String,
    /// Version.
    pub version: String,
    /// Resource name.
    pub plural: String,
    /// Namespace, or empty.
    pub namespace: String,
    /// Object name, or empty for the collection.
    pub name: String,
    /// Subresource, or empty.
    pub subresource: String,
}

impl Route {
    /// Parses a path; none if it means nothing here.
    #[must_use]
    pub(super) fn parse(path: &str) -> Option<Self> {
        let decoded: Vec<String> = path
            .split('/')
            .filter(|s| !s.is_empty())
            .map(decode)
            .collect();
        let segments: Vec<&str> = decoded.iter().map(String::as_str).collect();
        match segments.as_slice() {
            ["healthz" | "livez" | "readyz", ..] => Some(Self::Health),
            ["version"] => Some(Self::Version),
            ["api"] => Some(Self::CoreVersions),
            ["apis"] => Some(Self::Groups),
            ["apis", group] => Some(Self::Group((*group).to_owned())),
            ["api", version] => Some(Self::Resources {
                group: String::new(),
                version: (*version).to_owned(),
            }),
            ["apis", group, version] => Some(Self::Resources {
                group: (*group).to_owned(),
                version: (*version).to_owned(),
            }),
            ["openapi", "v2"] => Some(Self::OpenApiV2),
            ["openapi", "v3"] => Some(Self::OpenApi),
            ["openapi", "v3", "api", version] => Some(Self::OpenApiDocument {
                group: String::new(),
                version: (*version).to_owned(),
            }),
            ["openapi", "v3", "apis", group, version] => Some(Self::OpenApiDocument {
                group: (*group).to_owned(),
                version: (*version).to_owned(),
            }),
            ["api", version, rest @ ..] => resource("", version, rest),
            ["apis", group, version, rest @ ..] => resource(group, version, rest),
            _ => None,
        }
    }
}

fn resource(group: &str, version: &str, rest: &[&str]) -> Option<Route> {
    let (namespace, plural, name, subresource) = match rest {
        ["namespaces", name, sub @ ("status" | "finalize")] => ("", "namespaces", *name, *sub),
        ["namespaces", namespace, plural] => (*namespace, *plural, "", ""),
        ["namespaces", namespace, plural, name] => (*namespace, *plural, *name, ""),
        ["namespaces", namespace, plural, name, sub] => (*namespace, *plural, *name, *sub),
        [plural] => ("", *plural, "", ""),
        [plural, name] => ("", *plural, *name, ""),
        [plural, name, sub] => ("", *plural, *name, *sub),
        _ => return None,
    };
    Some(Route::Resource(Resource {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: plural.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: subresource.to_owned(),
    }))
}

/// The parameters of a query.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses what stands after the question mark.
    #[must_use]
    pub(super) fn parse(query: &str) -> Self {
        let pair = |p: &str| {
            let (name, value) = p.split_once('=').unwrap_or((p, ""));
            (
                decode(&name.replace('+', " ")),
                decode(&value.replace('+', " ")),
            )
        };
        Self(
            query
                .split('&')
                .filter(|p| !p.is_empty())
                .map(pair)
                .collect(),
        )
    }

    /// The value of a parameter, empty if it is not given.
    #[must_use]
    pub(super) fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map_or("", |(_, value)| value.as_str())
    }

    /// Whether a boolean parameter is set.
    #[must_use]
    pub(super) fn flag(&self, name: &str) -> bool {
        ["true", "1"].contains(&self.get(name))
    }
}

/// Decodes %XX (RFC 3986 §2.1); what is not UTF-8 afterwards is replaced.
fn decode(text: &str) -> String {
    let mut rest = text.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|h| std::str::from_utf8(h).ok());
        let value = hex
            .and_then(|h| u8::from_str_radix(h, 16).ok())
            .filter(|_| byte == b'%');
        decoded.push(value.unwrap_or(byte));
        rest = if value.is_some() {
            after.get(2..).unwrap_or_default()
        } else {
            after
        };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_resource(namespace: &str, plural: &str, name: &str, subresource: &str) -> Route {
        Route::Resource(Resource {
            version: "v1".into(),
            namespace: namespace.into(),
            plural: plural.into(),
            name: name.into(),
            subresource: subresource.into(),
            ..Resource::default()
        })
    }

    #[test]
    fn namespaces_are_both_objects_and_places() {
        for (path, want) in [
            (
                "/api/v1/namespaces",
                Some(mk_resource("", "namespaces", "", "")),
            ),
            (
                "/api/v1/namespaces/a",
                Some(mk_resource("", "namespaces", "a", "")),
            ),
            (
                "/api/v1/namespaces/a/status",
                Some(mk_resource("", "namespaces", "a", "status")),
            ),
            (
                "/api/v1/namespaces/a/services",
                Some(mk_resource("a", "services", "", "")),
            ),
            (
                "/api/v1/namespaces/a/services/b/status",
                Some(mk_resource("a", "services", "b", "status")),
            ),
            (
                "/api/v1/nodes/n/status",
                Some(mk_resource("", "nodes", "n", "status")),
            ),
            ("/api/v1/a/b/c/d", None),
            ("/what", None),
        ] {
            assert_eq!(Route::parse(path), want, "{path}");
        }
    }

    #[test]
    fn queries_are_decoded() {
        let query = Query::parse("labelSelector=a%3Db%2Cc+in+%28x%29&watch=1&odd=%zz%");
        assert_eq!(query.get("labelSelector"), "a=b,c in (x)");
        assert!(query.flag("watch"));
        assert_eq!(query.get("odd"), "%zz%");
        assert_eq!(query.get("none"), "");
    }
}
