import { vi } from 'vitest'

/*
 * Stands in for `node:timers/promises`, so that a store that waits costs no time and still sees it pass:
 *
 *     vi.mock('node:timers/promises', () => import('./virtual-time.ts'))
 */

export function startVirtualTime(): void {
  vi.useFakeTimers({ toFake: ['Date', 'performance'], now: Date.UTC(2030, 0, 1) })
}

export function stopVirtualTime(): void {
  vi.useRealTimers()
}

export function passTime(ms: number): void {
  vi.advanceTimersByTime(ms)
}

export async function setTimeout(ms: number): Promise<void> {
  passTime(ms)
}
