import type { VerdictCode } from './verdict.ts'

/** How a verdict is told by servers. The first mark that fits counts. */
export interface Mark {
  readonly code: VerdictCode
  /** Error codes, compared without regard to case and punctuation. */
  readonly errors?: string
  /** What the answer says in words. */
  readonly says?: RegExp
  /** Where words alone are enough; codes are looked at whatever the status. */
  readonly at?: readonly number[]
}

const refused = [401, 403] as const
const limited = [400, 402, 403, 413, 429, 503, 529] as const

/** What is known to mean exactly one thing, the more particular first. */
export const particular: readonly Mark[] = [
  {
    code: 'region_blocked',
    errors:
      'unsupported_country_region_territory unsupported_country country_not_supported region_not_supported location_not_supported unsupported_location unsupported_region geo_blocked geo_restricted region_blocked country_blocked',
    says: /unsupported (?:country|region|territor)|(?:country|region|location|territory)[\w\s,]{0,30}\b(?:is|are) not (?:yet )?supported|not (?:available|supported|accessible|offered) (?:in|from) your (?:current )?(?:country|region|location|territory)|block\w* (?:access )?from your (?:country|region)|geo-?(?:block|restrict|fenc)/i,
    at: [400, 401, 403, 451],
  },
  {
    code: 'step_up_required',
    errors:
      'insufficient_user_authentication insufficient_claims interaction_required step_up_required stepup_required mfa_required two_factor_required 2fa_required reauthentication_required reauth_required reauth login_required sso_required saml_sso_required',
    says: /two-?factor|multi-?factor|\bmfa\b|\bOTP code\b|\bre-?authenticat(?:e|ion)\b|SAML (?:SSO|enforcement)|step-?up|stronger (?:login|authentication)/i,
    at: refused,
  },
  {
    code: 'scope_missing',
    errors:
      'insufficient_scope missing_scope missing_scopes scope_missing no_scope access_token_scope_insufficient insufficient_permissions insufficientPermissions insufficient_permission insufficient_oauth_scope oauth_scope_insufficient scope_not_authorized scope_required required_scope_missing invalid_scope Authorization_RequestDenied ErrorInsufficientPermissionsInAccessToken missing_permission missing_permissions',
    says: /\bscopes?\b[^.]{0,60}\b(?:missing|required|insufficient|does not match|not (?:match|granted|include|authorized|sufficient))|\b(?:missing|insufficient|invalid|lacks?|requires?|not have|without|needs?)\b[^.]{0,60}\bscopes?\b|scope requirement|\b(?:scp|roles) claim|insufficient (?:privileges|permissions)|missing permissions?|not accessible by (?:integration|personal access token)|not have (?:the )?(?:sufficient|required|necessary|enough) (?:permissions?|privileges)|not enough permissions|lacks? (?:the )?(?:\S+ )?permissions?/i,
    at: refused,
  },
  {
    code: 'audience_wrong',
    errors: 'invalid_audience wrong_audience audience_mismatch invalid_aud invalid_target audience_not_allowed',
    says: /\baudience\b|\baud\b|(?:issued|intended|meant) for (?:a different|another)(?! (?:account|user|organi[sz]ation|workspace|tenant))/i,
    at: refused,
  },
  {
    code: 'account_mismatch',
    errors:
      'account_mismatch wrong_account account_id_mismatch invalid_account_id workspace_mismatch wrong_workspace organization_mismatch mismatched_organization mismatched_project project_mismatch tenant_mismatch wrong_tenant user_mismatch team_mismatch InvalidAuthenticationTokenTenant',
    says: /\b(?:account|organi[sz]ation|workspace|tenant|project|user|team)\b[^.]{0,60}\b(?:mismatch|do(?:es)? not match|did not match|must match|should match|differs? from)|\b(?:mismatch\w*|do(?:es)? not match|not match)\b[^.]{0,40}\b(?:account|organi[sz]ation|workspace|tenant|project|user|team)\b|(?:belongs? to|issued for|of) (?:a different|another) (?:account|organi[sz]ation|workspace|tenant|user|team)|\bwrong (?:account|organi[sz]ation|workspace|tenant)\b/i,
    at: refused,
  },
  {
    code: 'token_revoked',
    errors:
      'token_revoked access_token_revoked revoked_token oauth_token_revoked token_invalidated token_inactive account_inactive account_deactivated user_deactivated refresh_token_invalidated app_session_terminated session_terminated session_revoked api_key_revoked key_revoked',
    says: /\b(?:revoked|invalidated|deactivated|terminated|disabled|logged out|signed out)\b/i,
    at: refused,
  },
  {
    code: 'token_expired',
    errors:
      'token_expired expired_token access_token_expired expired_access_token token_has_expired jwt_expired ExpiredToken ExpiredTokenException session_expired expired_session expired_auth_token id_token_expired auth_token_expired oauth_token_expired authentication_token_expired key_expired api_key_expired',
    says: /^(?!.*\b(?:invalid|malformed|incorrect)\b(?: \w+)? or (?:has )?(?:\w+ )?expired).*\b(?:expired|expiration|past its expiry|no longer valid)\b/is,
    at: refused,
  },
  // Money that is gone does not come back with time, as a quota does.
  {
    code: 'not_entitled',
    errors:
      'credit_balance_too_low out_of_credits insufficient_credits insufficient_credit insufficient_balance insufficient_funds credits_exhausted no_credits',
    says: /credit balance is too low|(?:insufficient|out of|no (?:more |remaining )?|not enough|run out of|ran out of) (?:credits?|balance|funds)\b/i,
    at: limited,
  },
  {
    code: 'usage_limited',
    errors:
      'usage_limit_reached usage_limit_exceeded insufficient_quota quota_exceeded quota_exhausted quotaExceeded dailyLimitExceeded daily_limit_exceeded monthly_limit_exceeded monthly_quota_exceeded weekly_limit_reached exceeded_current_quota_error billing_hard_limit_reached spend_limit_reached spending_limit_reached spend_limit_exceeded user_quota_exceeded free_quota_exceeded',
    says: /\busage limit|current quota|\b(?:monthly|daily|weekly|hourly|5-hour|session) (?:\w+ )?(?:limit|quota|cap)\b|spend(?:ing)? limit|quota (?:\w+ )?(?:exhausted|used up)|PerDay\b/i,
    at: limited,
  },
  {
    code: 'not_entitled',
    errors:
      'billing_not_active billing_inactive not_entitled usage_not_included plan_not_supported plan_required subscription_required subscription_inactive subscription_expired upgrade_required payment_required insufficient_plan feature_not_available feature_not_enabled feature_disabled deactivated_workspace service_disabled consumer_suspended consumer_invalid access_not_configured accessNotConfigured SERVICE_DISABLED BILLING_DISABLED api_not_enabled model_access_denied license_required no_license unlicensed paid_only paid_plan_required organization_restricted copilot_not_enabled',
    says: /\b(?:plan|subscription|tier|licen[sc]e\w*|entitle\w*|billing|upgrade)\b/i,
    at: [401, 402, 403],
  },
  {
    code: 'rate_limited',
    errors:
      'rate_limit_exceeded rate_limit_error rate_limited ratelimited rate_limit rateLimitExceeded userRateLimitExceeded too_many_requests throttled throttling ThrottlingException Throttling.User RequestLimitExceeded request_limit_exceeded tokens_exceeded requests_exceeded',
    says: /\brate[- ]?limit|too many requests|throttl|error code: 1015\b/i,
    at: [...limited, 420],
  },
  {
    code: 'overloaded',
    errors:
      'overloaded_error overloaded server_overloaded server_is_overloaded engine_overloaded engine_overloaded_error model_overloaded capacity_exceeded no_capacity at_capacity slow_down ServiceUnavailableException server_busy',
    says: /\boverloaded|(?:at|over|out of|no|insufficient) capacity|high (?:demand|load|traffic)|slow down|too busy/i,
    at: [429, 500, 502, 503, 504, 529],
  },
]

/** What means no more than that the credential, or the account, does not do. */
export const general: readonly Mark[] = [
  {
    code: 'token_rejected',
    errors:
      'invalid_token invalid_auth invalid_authentication not_authed unauthorized unauthenticated authentication_error authentication_required invalid_api_key invalid_key api_key_invalid incorrect_api_key invalid_credentials bad_credentials InvalidAuthenticationToken invalid_session_id access_token_invalid token_invalid token_rejected credentials_missing access_token_type_unsupported not_allowed_token_type UnrecognizedClientException InvalidClientTokenId SignatureDoesNotMatch invalid_jwt bad_token invalid_access_token OAuthException',
  },
  {
    code: 'not_entitled',
    errors:
      'permission_denied permission_error forbidden access_denied AccessDenied AccessDeniedException not_allowed not_authorized unauthorized_access authorization_error insufficient_access restricted restricted_resource ErrorAccessDenied insufficientFilePermissions organization_not_allowed model_not_allowed',
    says: /\bnot (?:allowed|authorized|permitted)\b|\b(?:permission|access)(?: is| was)? denied|not have (?:permission|access)|\bforbidden\b/i,
    at: [403],
  },
]

/** Verdicts on the credential: a server that fails, or is asked too much, says nothing of it. */
export const ofCredential: ReadonlySet<VerdictCode> = new Set([
  ...(['step_up_required', 'scope_missing', 'audience_wrong', 'account_mismatch', 'token_revoked'] as const),
  ...(['token_expired', 'token_rejected', 'not_entitled'] as const),
])

/** What an answer comes to that says nothing more; else by its class. */
export const byStatus: Readonly<Record<number, VerdictCode>> = {
  401: 'token_rejected',
  402: 'not_entitled',
  407: 'proxy_failed',
  408: 'timed_out',
  420: 'rate_limited',
  429: 'rate_limited',
  440: 'token_expired',
  451: 'region_blocked',
  498: 'token_rejected',
  511: 'captive_portal',
  529: 'overloaded',
}

/** Servers that tell of scopes in headers: what the token has, and what would do, any of them. */
export const scopeHeaders: readonly (readonly [held: string, accepted: string])[] = [
  ['x-oauth-scopes', 'x-accepted-oauth-scopes'],
]

/** Headers of a refusal that mean one thing. */
export const headerMarks: readonly (readonly [VerdictCode, string, RegExp])[] = [
  ['step_up_required', 'x-github-otp', /required/i],
  ['step_up_required', 'x-github-sso', /required/i],
  ['usage_limited', 'anthropic-ratelimit-unified-status', /^rejected$/i],
]

/** Members that name the scopes that would be needed. */
export const scopeMembers: readonly string[] = [
  ...[
    'missing_scopes',
    'missingScopes',
    'missing_scope',
    'needed',
    'needed_scopes',
    'required_scopes',
    'requiredScopes',
  ],
  ...['required_scope', 'requiredScope', 'requiredGranularScopes', 'scope', 'scopes', 'required_permissions'],
  ...['missing_permissions', 'missing_permission', 'required_permission'],
]

/** Sentences that name the scopes that would be needed; the list begins where the match ends. */
export const scopeSentences: readonly RegExp[] = [
  /\bmissing (?:the )?(?:required |following )*(?:oauth )?(?:scopes?|permissions?)\b(?: permissions? on the request\. API requires one of)?\s*:?\s*/i,
  /\b(?:requires?|required|needs?|expected)(?: to have)?(?: any| at least)?(?: one| all)?(?: of)?(?: the)?(?: following)? (?:oauth )?scopes?(?: \(?(?:any|one|all) of\)?)?\s*:?\s*/i,
  /\bscope requirement\s*:?\s*/i,
  /\bexpected (?:any|all|one) of\s*:?\s*/i,
  /\bnot contain (?:the )?(?:required )?scopes?\s*:?\s*/i,
  /\b(?:requires?|needs?|lacks?|without|missing) (?:the |one of (?:the )?)?(?=[`'"]?[\w-]+[:./][\w:./-]+)/i,
]

/** Marks of the proxies and filters that stand in networks, in headers and on pages. */
export const proxyHeaders: readonly (readonly [string, RegExp])[] = [
  ['x-squid-error', /./],
  ['proxy-status', /\berror=(?:dns|connection|destination|http_request_denied|proxy)/i],
  ['server', /^(?:squid|zscaler|bluecoat|mcafee web gateway|cisco-wsa|netskope|fortiweb|forcepoint)/i],
  ['x-cache', /\bfrom (?:squid|[\w.-]*proxy[\w.-]*)/i],
]
export const proxyPage: RegExp =
  /\bsquid\b|zscaler|fortiguard|fortigate|blue ?coat|proxysg|mcafee web gateway|websense|forcepoint|netskope|cisco (?:umbrella|ironport|wsa)|sophos (?:web|utm|xg)|web page blocked|\bERR_(?:DNS_FAIL|CONNECT_FAIL|ACCESS_DENIED|CANNOT_FORWARD|CACHE_ACCESS_DENIED|READ_TIMEOUT)\b/i
/** `Via` of what stands before the servers, not before the clients. */
export const serverSideVia: RegExp =
  /varnish|google|cloudfront|vegur|akamai|fastly|caddy|heroku|envoy|istio|spaces-router|kong|apigee|haproxy/i

/** Marks of the sign-in pages of networks. */
export const portalPage: RegExp =
  /WISPAccessGatewayParam|captive[ -]?portal|hot-?spot|\bwi-?fi\b|fgtauth|coova|chillispot|\bmeraki\b|network[ -](?:login|log-in|sign-?in|access (?:login|portal))|(?:hotel|guest|visitor|airport|conference) (?:network|internet|access)|(?:sign|log) ?in to (?:the |this |our )?(?:network|internet)|(?:internet|network) access (?:requires|is restricted)|accept (?:the |our )?terms[^.<]{0,60}(?:internet|network|online|connect)|authenticate to (?:access )?(?:the )?(?:network|internet)/i
