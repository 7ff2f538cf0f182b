const ext4 = {
  type: 'ext4',
  megabytes: 64,
  // Nothing that goes on in the background: what is recorded is the store's doing.
  mkfs: ['mkfs.ext4', '-q', '-F', '-E', 'lazy_itable_init=0,lazy_journal_init=0'],
  options: '',
}

/** How each file system is made and mounted. Small: every crash state is a whole disk. */
export const fileSystems = {
  ext4,
  'ext4-writeback': { ...ext4, options: 'data=writeback' },
  'ext4-noauto_da_alloc': { ...ext4, options: 'noauto_da_alloc' },
  xfs: { type: 'xfs', megabytes: 320, mkfs: ['mkfs.xfs', '-q', '-f'], options: '' },
  btrfs: { type: 'btrfs', megabytes: 128, mkfs: ['mkfs.btrfs', '-q', '-f'], options: 'nodiscard' },
}
