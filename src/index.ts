export { type AnthropicCredentials, anthropicCredentials, apiKeyFunction, sdkFetch } from './adapters/sdk.ts'
export type { AccessToken, HeadersRequest } from './broker/access-token.ts'
export type { Alternative } from './broker/alternatives.ts'
export type { AuthorizeHandler, AuthorizeRequest } from './broker/ask.ts'
export {
  type LoginOptions,
  TokenBroker,
  type TokenBrokerOptions,
  type TokenSource,
} from './broker/broker.ts'
export { type DiagnosisContext, diagnose } from './broker/diagnose.ts'
export type { EnvironmentVariables } from './broker/environment.ts'
export type { RefreshEvent } from './broker/events.ts'
export type { ExplainedCandidate, ExplainedRoute, Explanation } from './broker/explain.ts'
export type { RefreshTiming } from './broker/lease.ts'
export type { Narrower, Profile } from './broker/onboard.ts'
export type { AccountOrder, Accounts, Rest } from './broker/order.ts'
export type { Holder, OtherAccount, OtherAccountDecision, OtherAccountHandler } from './broker/other-account.ts'
export type { GetTokenOptions } from './broker/request.ts'
export type { PassedOver, ServiceRoute, ServiceTarget } from './broker/route.ts'
export type { Validation } from './broker/validate.ts'
export type { Verdict, VerdictCode } from './broker/verdict.ts'
export {
  type ApiKeyCredential,
  type Credential,
  type CredentialKey,
  type Evidence,
  type Grant,
  type Json,
  type JsonObject,
  type Lease,
  type OAuthCredential,
  type Owner,
  type Refreshed,
  type Reissue,
  Secret,
  type StoredToken,
  type TokenCredential,
} from './credential.ts'
export type { CredentialKind, Endpoint, Requirement, Target } from './endpoint.ts'
export { AuthkeepError, type ErrorCode, type ErrorDetails, isAuthkeepError, type Remedy } from './errors.ts'
export { type Document, type Entry, type Format, FormatError, type RefreshLock } from './formats/format.ts'
export { nativeFormat } from './formats/native.ts'
export { openClawAuthProfilesFormat } from './formats/openclaw-auth-profiles.ts'
export { piAuthJsonFormat } from './formats/pi-auth-json.ts'
export { type ApiKeyOptions, apiKeyFlow } from './grant/api-key.ts'
export { type Challenge, type Refusal, readChallenges } from './grant/challenge.ts'
export { type ClientCredentialsOptions, clientCredentialsFlow } from './grant/client-credentials.ts'
export { type DeviceCode, type DeviceOptions, deviceFlow } from './grant/device-code.ts'
export {
  type DiscoverIssuerOptions,
  type DiscoverProviderOptions,
  discoverIssuer,
  discoverProvider,
} from './grant/discover-provider.ts'
export type { DpopKey } from './grant/dpop.ts'
export type { GrantAnswer, GrantFlow, GrantRequest, TokenAnswer } from './grant/flow.ts'
export { type LoopbackOptions, loopbackFlow } from './grant/loopback.ts'
export { type PasteOptions, pasteFlow } from './grant/paste.ts'
export type { PastePrompt } from './grant/pasted.ts'
export {
  type ClientDescription,
  clientMetadataDocument,
  type RegisteredClient,
  type RegistrationOutcome,
  type RegistrationRequest,
  registerClient,
} from './grant/registration.ts'
export {
  discoverResource,
  type ProtectedResource,
  type ResourceDiscovery,
  type ResourceDiscoveryOptions,
} from './grant/resource-discovery.ts'
export { defaultStorePath, homeDirectory } from './home.ts'
export type {
  AuthorizationServerMetadata,
  DeviceLogin,
  DeviceLoginMember,
  KeyExchange,
  KeyLogin,
  Narrowing,
  PrivateJwk,
  Provider,
  ProviderClient,
} from './provider.ts'
export { loadProvider, loadProviders, parseProvider, saveProvider } from './provider-files.ts'
export { anthropic } from './providers/anthropic.ts'
export { type BuiltInOptions, type BuiltInProviders, builtInProviders } from './providers/built-in.ts'
export { github } from './providers/github.ts'
export { google } from './providers/google.ts'
export { openai } from './providers/openai.ts'
export { openaiCodex } from './providers/openai-codex.ts'
export { openrouter } from './providers/openrouter.ts'
export type { OwnClient, Product } from './providers/options.ts'
export { formatScope, type Implications, missingScopes, parseScope, scopeSet, unionScopes } from './scope.ts'
export { type Change, type CommitResult, memoryBackend, type StoreBackend, type Versioned } from './store/backend.ts'
export type { Backup, StoreEvent, StoreReport } from './store/events.ts'
export { type FileBackend, type FileBackendOptions, fileBackend } from './store/file.ts'
export type { FileOperations, FileStat } from './store/file-operations.ts'
export { type KeyProvider, type KeyReport, type NewKey, type Sealed, sealed } from './store/sealed.ts'
export {
  environmentKeys,
  fileKeys,
  passphraseKeys,
  severalKeys,
  type Wrapping,
  wrappedKeys,
} from './store/sealing-keys.ts'
export type { Spent } from './store/spent.ts'
export { type CredentialInfo, CredentialStore, type OpenStoreOptions, openStore } from './store/store.ts'
