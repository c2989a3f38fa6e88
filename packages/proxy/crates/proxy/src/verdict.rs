//! What the end of a try says of the endpoint that was asked. Called by `attempt`, once a try; what follows from it decides `plait-decide::outlier`.

use plait_model::{Reason, ResponseHead};

use crate::{attempt::Stop, call::Wish, failed::Fault};

/// Whether the endpoint did well. `None` = nothing can be said: the caller left, a connection that had been idle was closed, or a policy
/// or a limit decided.
pub(crate) fn of(ended: &Result<(), Stop>, wish: &Wish, response: &ResponseHead) -> Option<bool> {
    let reason = match ended {
        Ok(()) if *wish == Wish::Tunnel => return Some(true),
        Ok(()) | Err(Stop::Again(_)) => return Some(!is_failure(response)),
        // No fault of the endpoint's: a plugin beside us ended it.
        Err(Stop::Over(Fault::Caller | Fault::Instead(_))) => return None,
        Err(Stop::Failed(failed)) if failed.stale => return None,
        Err(Stop::Failed(failed)) => failed.reject.reason,
        Err(Stop::Over(Fault::Reject(reject) | Fault::Truncated(reject))) => reject.reason,
    };
    blames_the_endpoint(reason).then_some(false)
}

/// An answer that a healthy process does not give. gRPC says it in the head when there is nothing else to say.
fn is_failure(response: &ResponseHead) -> bool {
    // INTERNAL, UNAVAILABLE, DATA_LOSS; the others are about the request.
    response.status >= 500 || response.headers.first("grpc-status").is_some_and(|status| matches!(status, b"13" | b"14" | b"15"))
}

/// Whether the endpoint, or the way to it, is what failed.
pub(crate) fn blames_the_endpoint(reason: Reason) -> bool {
    match reason {
        Reason::UpstreamUnreachable
        | Reason::UpstreamReset
        | Reason::UpstreamProtocolError
        | Reason::UpstreamIdentity
        | Reason::RequestTimeout
        | Reason::AttemptTimeout
        | Reason::Overloaded
        // Those beside the endpoint: what ours say never comes here.
        | Reason::PluginTimeout
        | Reason::PluginUnavailable
        | Reason::PluginQueueFull
        | Reason::Internal => true,
        Reason::BadRequest
        | Reason::HeadTooLarge
        | Reason::SlowCaller
        | Reason::RouteNotFound
        | Reason::BackendNotFound
        | Reason::PortNotFound
        | Reason::NoReadyEndpoint
        | Reason::UpstreamClosing
        | Reason::PolicyDenied
        | Reason::PluginDenied
        | Reason::PluginError
        | Reason::BodyTooLarge
        | Reason::Unauthenticated
        | Reason::EgressDenied
        | Reason::DiscoveryUnavailable
        | Reason::IdentityUnavailable
        | Reason::LoopDetected
        // It is no fault to have no more connections.
        | Reason::ConnectionLimit
        | Reason::Draining => false,
    }
}

#[cfg(test)]
mod tests {
    use plait_decide::retry::Ended;

    use super::*;
    use crate::{failed::Failed, reject::Reject};

    fn response(status: u16, grpc: &str) -> ResponseHead {
        let mut response = ResponseHead { status, ..ResponseHead::default() };
        response.headers.append("grpc-status", grpc.as_bytes());
        response
    }

    #[test]
    fn an_answer_is_judged_by_its_head() {
        let answer = Wish::Answer { framing: plait_http1::Framing::None, expects_continue: false };
        for (status, grpc, good) in [
            (200, "0", true),
            (404, "0", true),
            (429, "0", true),
            (500, "0", false),
            (503, "0", false),
            (200, "5", true),
            (200, "14", false),
        ] {
            for ended in [Ok(()), Err(Stop::Again(std::time::Duration::ZERO))] {
                assert_eq!(of(&ended, &answer, &response(status, grpc)), Some(good), "{status} {grpc}");
            }
        }
        assert_eq!(of(&Ok(()), &Wish::Tunnel, &response(503, "0")), Some(true), "a tunnel has no head");
    }

    #[test]
    fn a_failure_is_the_endpoints_or_nobodys() {
        let head = response(200, "0");
        let failed = |reason, stale| Err(Stop::Failed(Failed { ended: Ended::Broken, reject: Reject::new(reason, 1).into(), stale }));
        for (ended, verdict) in [
            (failed(Reason::UpstreamReset, false), Some(false)),
            (failed(Reason::UpstreamReset, true), None),
            (failed(Reason::AttemptTimeout, false), Some(false)),
            (failed(Reason::IdentityUnavailable, false), None),
            (Err(Stop::Over(Reject::new(Reason::PolicyDenied, 1).into())), None),
            (Err(Stop::Over(Reject::new(Reason::RequestTimeout, 1).into())), Some(false)),
            (Err(Stop::Over(Fault::Truncated(Box::new(Reject::new(Reason::UpstreamReset, 1))))), Some(false)),
            (Err(Stop::Over(Fault::Caller)), None),
        ] {
            assert_eq!(of(&ended, &Wish::Tunnel, &head), verdict, "{ended:?}");
        }
    }
}
