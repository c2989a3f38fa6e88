//! Who the control plane is in a mesh. No workload may have its identity: the CA sees to that.

use plait_model::{SpiffeError, SpiffeId};

const NAMESPACE: &str = "plait-system";
const ACCOUNT: &str = "plait-controlplane";

/// The identity of the control plane's servers.
pub(crate) fn identity(trust_domain: &str) -> Result<SpiffeId, SpiffeError> {
    SpiffeId::new(trust_domain, NAMESPACE, ACCOUNT)
}

/// The name to ask for in SNI. Its servers show the same certificate whatever they are asked for.
pub(crate) fn server_name(trust_domain: &str) -> String {
    format!("{ACCOUNT}.{NAMESPACE}.{trust_domain}")
}
