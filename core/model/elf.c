/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* elf.c - is this file a complete shared object for this machine?  The dynamic linker trusts its
 * input: it maps the segments that the headers list and touches them, so a plugin whose download
 * was cut short ends in SIGBUS inside dlopen.  The sizes in the headers are therefore compared with
 * the file's first.  This does not make a malicious file safe (a plugin is code); it turns an
 * accident into an error message. */
#include "model_internal.h"
#include <elf.h>
#include <inttypes.h>
#include <string.h>

#if defined(__x86_64__)
#define THIS_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define THIS_MACHINE EM_AARCH64
#else
#error "name this machine's EM_ constant here"
#endif

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define THIS_ORDER ELFDATA2LSB
#else
#define THIS_ORDER ELFDATA2MSB
#endif

static int elf_fits(uint64_t off, uint64_t len, uint64_t size)
{
    return off <= size && len <= size - off;
}

static int elf_truncated(struct br_err *err, const char *what, uint64_t off, uint64_t len,
                         uint64_t size)
{
    return br_fail(err, BR_E_PLUGIN,
                   "the file has %" PRIu64 " bytes, but its %s should be %" PRIu64
                   " bytes at offset %" PRIu64 "; was the copy cut short?",
                   size, what, len, off);
}

static int check_ident(const Elf64_Ehdr *h, struct br_err *err)
{
    if (memcmp(h->e_ident, ELFMAG, SELFMAG) != 0)
        return br_fail(err, BR_E_PLUGIN, "not a shared object: no ELF magic");
    if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != THIS_ORDER ||
        h->e_machine != THIS_MACHINE)
        return br_fail(
            err, BR_E_PLUGIN,
            "built for another machine: ELF class %d, byte order %d, machine %d; this one "
            "is %d, %d, %d",
            h->e_ident[EI_CLASS], h->e_ident[EI_DATA], h->e_machine, ELFCLASS64, THIS_ORDER,
            THIS_MACHINE);
    if (h->e_ident[EI_VERSION] != EV_CURRENT || h->e_type != ET_DYN)
        return br_fail(err, BR_E_PLUGIN, "not a shared object: ELF version %d, type %d",
                       h->e_ident[EI_VERSION], h->e_type);
    return BR_OK;
}

static int check_segments(const unsigned char *p, uint64_t n, const Elf64_Ehdr *h,
                          struct br_err *err)
{
    int loads = 0, dynamics = 0;

    if (h->e_phentsize != sizeof(Elf64_Phdr))
        return br_fail(err, BR_E_PLUGIN, "not a shared object: program headers of %d bytes",
                       h->e_phentsize);
    if (!elf_fits(h->e_phoff, (uint64_t)h->e_phnum * sizeof(Elf64_Phdr), n))
        return elf_truncated(err, "program header table", h->e_phoff,
                             (uint64_t)h->e_phnum * sizeof(Elf64_Phdr), n);
    for (size_t i = 0; i < h->e_phnum; i++) {
        Elf64_Phdr ph;
        memcpy(&ph, p + h->e_phoff + i * sizeof ph, sizeof ph);
        if (!elf_fits(ph.p_offset, ph.p_filesz, n))
            return elf_truncated(err, "segment", ph.p_offset, ph.p_filesz, n);
        if (ph.p_type == PT_LOAD && ph.p_filesz > ph.p_memsz)
            return br_fail(err, BR_E_PLUGIN,
                           "malformed: segment %zu is larger in the file than in "
                           "memory",
                           i);
        loads += ph.p_type == PT_LOAD;
        dynamics += ph.p_type == PT_DYNAMIC;
    }
    if (loads == 0 || dynamics != 1)
        return br_fail(err, BR_E_PLUGIN, "not a shared object: %d loadable and %d dynamic segments",
                       loads, dynamics);
    return BR_OK;
}

/* The section table is not used at run time, but it comes last, so it shows whether the end of the
 * file is there. */
static int check_sections(const unsigned char *p, uint64_t n, const Elf64_Ehdr *h,
                          struct br_err *err)
{
    if (h->e_shnum == 0)
        return BR_OK;
    if (h->e_shentsize != sizeof(Elf64_Shdr))
        return br_fail(err, BR_E_PLUGIN, "malformed: section headers of %d bytes", h->e_shentsize);
    if (!elf_fits(h->e_shoff, (uint64_t)h->e_shnum * sizeof(Elf64_Shdr), n))
        return elf_truncated(err, "section header table", h->e_shoff,
                             (uint64_t)h->e_shnum * sizeof(Elf64_Shdr), n);
    for (size_t i = 0; i < h->e_shnum; i++) {
        Elf64_Shdr sh;
        memcpy(&sh, p + h->e_shoff + i * sizeof sh, sizeof sh);
        if (sh.sh_type != SHT_NULL && sh.sh_type != SHT_NOBITS &&
            !elf_fits(sh.sh_offset, sh.sh_size, n))
            return elf_truncated(err, "section", sh.sh_offset, sh.sh_size, n);
    }
    return BR_OK;
}

int br__elf_check(const unsigned char *p, size_t n, struct br_err *err)
{
    Elf64_Ehdr h;

    if (n < sizeof h)
        return br_fail(err, BR_E_PLUGIN, "not a shared object: %zu bytes, an ELF header has %zu", n,
                       sizeof h);
    memcpy(&h, p, sizeof h);
    int rc = check_ident(&h, err);
    if (rc == BR_OK)
        rc = check_segments(p, n, &h, err);
    if (rc == BR_OK)
        rc = check_sections(p, n, &h, err);
    return rc;
}
