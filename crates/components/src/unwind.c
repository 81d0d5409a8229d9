/* What the unwinder in Debian's libgcc_eh.a asks of glibc, said by what every C library has. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdint.h>

struct search {
	uintptr_t address;
	struct dl_find_object *found;
};

static int look(struct dl_phdr_info *object, size_t size, void *data)
{
	struct search *search = data;
	void *tables = 0;
	int inside = 0;
	(void)size;
	for (int i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &object->dlpi_phdr[i];
		uintptr_t start = object->dlpi_addr + header->p_vaddr;
		if (header->p_type == PT_LOAD && search->address - start < header->p_memsz)
			inside = 1;
		if (header->p_type == PT_GNU_EH_FRAME)
			tables = (void *)start;
	}
	if (!inside || !tables)
		return 0;
	search->found->dlfo_eh_frame = tables;
	return 1;
}

/* As glibc 2.35 has it; 0 is success. */
int _dl_find_object(void *address, struct dl_find_object *found)
{
	struct search search = { (uintptr_t)address, found };
	return dl_iterate_phdr(look, &search) == 1 ? 0 : -1;
}

/* The unwinder takes a program with the first of these for one that has all of them, and asks for none. */
void *const mos_unwinder_needs[] = {
	pthread_once, pthread_key_create, pthread_getspecific, pthread_setspecific, pthread_mutex_lock, pthread_mutex_unlock,
};
