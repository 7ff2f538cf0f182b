/**
 * Whether a browser opened here would be in front of the person: not over SSH, not in CI, not without a display. Then
 * the address is only shown.
 */
export function canOpenBrowser(
  env: Readonly<Record<string, string | undefined>>,
  platform: NodeJS.Platform = process.platform,
): boolean {
  const has = (name: string): boolean => (env[name] ?? '') !== ''
  if (has('SSH_CONNECTION') || has('SSH_TTY') || has('SSH_CLIENT') || has('CI')) return false
  return (
    platform === 'darwin' || platform === 'win32' || has('DISPLAY') || has('WAYLAND_DISPLAY') || has('WSL_DISTRO_NAME')
  )
}
